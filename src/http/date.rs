//! Dates of HTTP (RFC 9110 section 5.6.7).

use std::{cell::RefCell, time::SystemTime};

use jiff::{Timestamp, civil, tz::TimeZone};

/// IMF-fixdate.
pub fn write(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Hands an IMF-fixdate to `take`. Each thread keeps the one that it has written last, for all messages of that second.
pub fn with<T>(at: SystemTime, take: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static LAST: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
    }
    let second = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|last| match last {
        Some((of, text)) if *of == second => take(text),
        _ => take(&last.insert((second, write(at))).1),
    })
}

/// Reads a date in any of the three forms, in any case (RFC 9111 section 4.2 wants that of a cache); `None` for
/// everything else, such as `0` or another zone. `now` tells which century two digits of a year mean.
pub fn parse(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    match text.split_once(',') {
        Some((weekday, rest)) => {
            let rest = rest.strip_prefix(' ')?;
            match is_in(&SHORT_WEEKDAYS, weekday) {
                true => imf_fixdate(rest),
                false if is_in(&LONG_WEEKDAYS, weekday) => rfc_850(rest, now),
                false => None,
            }
        }
        None => asctime(text),
    }
}

const SHORT_WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn is_in(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<SystemTime> {
    let [day, month, year, time, zone] = words(text)?;
    gmt(zone)?;
    at(number(year, 4)?, month, number(day, 2)?, time)
}

/// `06-Nov-94 08:49:37 GMT`
fn rfc_850(text: &str, now: SystemTime) -> Option<SystemTime> {
    let [date, time, zone] = words(text)?;
    gmt(zone)?;
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let this_year = Timestamp::try_from(now).ok()?.to_zoned(TimeZone::UTC).year();
    let mut year = this_year - this_year.rem_euclid(100) + number(year, 2)?;
    // What seems more than 50 years ahead is the latest such year in the past.
    if year > this_year + 50 {
        year -= 100;
    }
    at(year, month, number(day, 2)?, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<SystemTime> {
    let (weekday, rest) = text.split_once(' ')?;
    if !is_in(&SHORT_WEEKDAYS, weekday) {
        return None;
    }
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let [time, year] = words(rest.strip_prefix(' ')?)?;
    let day = match day.strip_prefix(' ') {
        Some(digit) => number(digit, 1)?,
        None => number(day, 2)?,
    };
    at(number(year, 4)?, month, day, time)
}

fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn gmt(zone: &str) -> Option<()> {
    zone.eq_ignore_ascii_case("GMT").then_some(())
}

fn number(text: &str, digits: usize) -> Option<i16> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn at(year: i16, month: &str, day: i16, time: &str) -> Option<SystemTime> {
    let month = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(month))?;
    let mut parts = time.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // A leap second is the one before it.
    let second = number(second, 2)?.min(if second == "60" { 59 } else { i16::MAX });
    let small = |number: i16| i8::try_from(number).ok();
    let date = civil::Date::new(year, small(month as i16 + 1)?, small(day)?).ok()?;
    let time =
        civil::Time::new(small(number(hour, 2)?)?, small(number(minute, 2)?)?, small(second)?, 0).ok()?;
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let at = parse(text.as_bytes(), now)?;
        at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    #[test]
    fn dates_are_written_as_imf_fixdates() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(write(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_date_is_kept_for_its_second_and_no_longer() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (millis, second) in [(1_000, 1), (1_999, 1), (2_000, 2), (1_500, 1)] {
            assert_eq!(with(at(millis), str::to_owned), format!("Thu, 01 Jan 1970 00:00:0{second} GMT"));
        }
    }

    #[test]
    fn the_three_forms_are_read_in_any_case() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
        assert_eq!(seconds("Sun Nov 16 08:49:37 1994"), Some(784_975_777));
        assert_eq!(seconds("Sat, 31 Dec 2016 23:59:60 GMT"), seconds("Sat, 31 Dec 2016 23:59:59 GMT"));
    }

    #[test]
    fn two_digits_of_a_year_mean_the_past_where_the_future_is_more_than_50_years_off() {
        // The test's year is 2026.
        assert_eq!(seconds("Friday, 01-Jan-77 00:00:00 GMT"), Some(220_924_800));
        assert_eq!(seconds("Wednesday, 01-Jan-76 00:00:00 GMT"), Some(3_345_062_400));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "0",
            "-1",
            "",
            "now",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Som, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
