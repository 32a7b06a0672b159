//! Personal data in log lines, replaced by `****`.

use std::borrow::Cow;

use regex::{Captures, Regex};

use super::config::{DataMasking, Entity};
use crate::{base::pattern, policy::ConfigProblem};

const MASK: &str = "****";
/// Digits of a card number (ISO/IEC 7812).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

const EMAIL: &str = r"(?i)[a-z0-9._%+'-]+@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*\.[a-z]{2,}";
const SSN: &str = r"\b[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}\b";
/// Candidates only: digits in groups, which [`mask_cards`] looks at.
const CARD: &str = r"[0-9](?:[ -]?[0-9]){12,}";
/// With an international prefix, or in the groups of the North American plan.
const PHONE: &str = r"\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,4}\)?){2,5}|(?:\b1[ .-])?(?:\([0-9]{3}\) ?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b";

/// What is masked, in order.
#[derive(Default)]
pub struct Masker(Vec<Step>);

enum Step {
    Pattern(Regex),
    Cards(Regex),
}

impl Masker {
    /// # Errors
    /// Custom patterns that are no regular expressions.
    pub fn new(config: &DataMasking) -> Result<Self, Vec<ConfigProblem>> {
        // Cards first: parts of their numbers look like phone numbers.
        const ORDER: [(Entity, &str); 4] = [
            (Entity::CreditCard, CARD),
            (Entity::Email, EMAIL),
            (Entity::UsSsn, SSN),
            (Entity::PhoneNumber, PHONE),
        ];
        let (mut steps, mut problems) = (Vec::new(), Vec::new());
        for (index, custom) in config.custom_patterns.iter().enumerate() {
            match pattern::within(&custom.pattern) {
                Ok(regex) => steps.push(Step::Pattern(regex)),
                Err(error) => {
                    let field = format!("dataMasking.customPatterns[{index}].pattern");
                    problems.push(ConfigProblem::new(field, error.message).help(error.help));
                }
            }
        }
        for (entity, source) in ORDER.into_iter().filter(|(entity, _)| config.entities.contains(entity)) {
            let regex = Regex::new(source).expect("a constant that a test compiles");
            steps.push(if entity == Entity::CreditCard { Step::Cards(regex) } else { Step::Pattern(regex) });
        }
        if problems.is_empty() { Ok(Self(steps)) } else { Err(problems) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with what matches replaced.
    pub fn mask<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let mut text = text;
        for step in &self.0 {
            let masked = match step {
                Step::Pattern(regex) => regex.replace_all(&text, |found: &Captures<'_>| match &found[0] {
                    "" => "",
                    _ => MASK,
                }),
                Step::Cards(regex) => regex.replace_all(&text, |found: &Captures<'_>| mask_cards(&found[0])),
            };
            if let Cow::Owned(masked) = masked {
                text = Cow::Owned(masked);
            }
        }
        text
    }
}

/// Masks the card numbers in a run of digits and separators. A number may stand beside other digits,
/// so each stretch from one separator to another is looked at, the longest first. Linear: a stretch
/// has 19 digits at most.
fn mask_cards(run: &str) -> String {
    let digits: Vec<u8> = run.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    // Where groups begin and the run ends: offset in the text, digits before it.
    let mut bounds = vec![(0, 0)];
    let mut count = 0;
    for (offset, byte) in run.bytes().enumerate() {
        if byte.is_ascii_digit() {
            count += 1;
        } else {
            bounds.push((offset + 1, count));
        }
    }
    bounds.push((run.len(), count));
    let last = bounds.len() - 1;
    let mut out = String::with_capacity(run.len());
    let mut at = 0;
    while at < last {
        let (start, before) = bounds[at];
        let ends = (at + 1..=last).take_while(|&end| bounds[end].1 - before <= *CARD_DIGITS.end());
        let card = ends
            .filter(|&end| bounds[end].1 - before >= *CARD_DIGITS.start())
            .filter(|&end| passes_luhn(&digits[before..bounds[end].1]))
            .last();
        let end = card.unwrap_or(at + 1);
        match card {
            Some(_) if end < last => out.extend([MASK, &run[bounds[end].0 - 1..bounds[end].0]]),
            Some(_) => out.push_str(MASK),
            None => out.push_str(&run[start..bounds[end].0]),
        }
        at = end;
    }
    out
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| {
            let value = u32::from(digit);
            match index % 2 {
                0 => value,
                _ if value > 4 => 2 * value - 9,
                _ => 2 * value,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::OneOrMany, policies::message_logging::config::CustomPattern};

    fn masked(entities: &[Entity], text: &str) -> String {
        let config = DataMasking { entities: OneOrMany(entities.to_vec()), custom_patterns: Vec::new() };
        Masker::new(&config).expect("valid").mask(text.into()).into_owned()
    }

    fn assert_masked(entity: Entity, table: &[(&str, &str)]) {
        for (text, expected) in table {
            assert_eq!(masked(&[entity], text), *expected, "{text}");
        }
    }

    #[test]
    fn email_addresses() {
        assert_masked(
            Entity::Email,
            &[
                ("to ada.l+x@mail.example.org now", "to **** now"),
                ("\"ADA@EXAMPLE.COM\"", "\"****\""),
                ("a@b no address", "a@b no address"),
                ("x@a.io,y@b.io", "****,****"),
            ],
        );
    }

    #[test]
    fn social_security_numbers() {
        assert_masked(
            Entity::UsSsn,
            &[("ssn 123-45-6789.", "ssn ****."), ("123 45 6789", "****"), ("1234-45-67890", "1234-45-67890")],
        );
    }

    #[test]
    fn card_numbers_must_pass_the_luhn_check() {
        assert_masked(
            Entity::CreditCard,
            &[
                ("pan=4111111111111111;", "pan=****;"),
                ("4111 1111 1111 1111", "****"),
                ("5500-0000-0000-0004 x", "**** x"),
                ("378282246310005", "****"),
                ("4111111111111112", "4111111111111112"),
                ("1234567890", "1234567890"),
                ("id 7 4111 1111 1111 1111 99", "id 7 **** 99"),
                ("4111-1111-1111-1111 5500 0000 0000 0004", "**** ****"),
                ("\u{664}111111111111111", "\u{664}111111111111111"),
            ],
        );
    }

    #[test]
    fn phone_numbers() {
        assert_masked(
            Entity::PhoneNumber,
            &[
                ("call 415-555-2671!", "call ****!"),
                ("(415) 555-2671", "****"),
                ("1.415.555.2671", "****"),
                ("+44 20 7946 0958", "****"),
                ("+14155552671", "****"),
                ("at 1700000000 s", "at 1700000000 s"),
            ],
        );
    }

    #[test]
    fn only_the_listed_entities_are_masked() {
        let text = "ada@example.com 4111111111111111 123-45-6789 415-555-2671";
        assert_eq!(masked(&[], text), text);
        let all = [Entity::Email, Entity::UsSsn, Entity::CreditCard, Entity::PhoneNumber];
        assert_eq!(masked(&all, text), "**** **** **** ****");
        assert_eq!(masked(&[Entity::Email], text), "**** 4111111111111111 123-45-6789 415-555-2671");
    }

    #[test]
    fn custom_patterns_mask_what_they_match_and_nothing_where_they_match_nothing() {
        let custom = |pattern: &str| CustomPattern { name: "n".to_owned(), pattern: pattern.to_owned() };
        let config = DataMasking {
            entities: OneOrMany::default(),
            custom_patterns: vec![custom("emp-[0-9]+"), custom("z*")],
        };
        let masker = Masker::new(&config).expect("valid");
        assert_eq!(masker.mask("emp-17 and zz".into()), "**** and ****");
        let config = DataMasking { entities: OneOrMany::default(), custom_patterns: vec![custom("(")] };
        let problems = Masker::new(&config).err().expect("an error");
        assert_eq!(problems[0].field, "dataMasking.customPatterns[0].pattern");
        assert_eq!(problems[0].message, "`(` is no valid regular expression: unclosed group");
    }
}
