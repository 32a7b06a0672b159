//! A time span written as a number of seconds.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// Ten years: longer is for ever, and far from where adding to a point in time overflows.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Seconds, fractions allowed, zero or more (policies reference 3.7); ten years at most, and what is
/// longer counts as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds >= LONGEST.as_secs_f64() {
            return Ok(Self(LONGEST));
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| {
            de::Error::custom(format!("{seconds} is no time span: expected seconds, zero or more"))
        })
    }
}

/// In defaults of schemas.
impl serde::Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::deserialize_config, policy::testkit::yaml};

    #[test]
    fn seconds_are_a_number_of_zero_or_more_or_its_text_and_ten_years_at_most() {
        let read = |text: &str| deserialize_config::<Seconds>(&yaml(text), "timeout");
        for (text, millis) in [("0.25", 250), ("'4.5'", 4500), ("'7'", 7000), ("0", 0)] {
            assert_eq!(read(text).value, Some(Seconds(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(read("1e300").value, Some(Seconds(Duration::from_secs(10 * 365 * 24 * 60 * 60))));
        let refused = read("-1").problems;
        assert_eq!(refused[0].message, "-1 is no time span: expected seconds, zero or more");
        assert!(read("15s").value.is_none());
    }
}
