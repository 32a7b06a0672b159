//! Sealing: what is kept where others may write can be read, and written, by the replicas of one gateway alone
//! (decisions 38 and 39).
//!
//! A sealed value is `1 | length of the id | id of the key | salt (16) | nonce (12) | AES-256-GCM`. The key for it is
//! HKDF-SHA256 of the gateway's key, with the salt, for a [`Purpose`]: so a value of one kind never passes as one of
//! another, and random nonces never run out, however many values a key seals.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Diagnostic, Secret};

/// What a sealed value is for. One kind is never opened as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The configuration that replicas share, in the shared storage and on their disks.
    Configuration,
    /// What a replica says of itself to the others.
    Member,
    /// Responses that replicas cache together.
    HttpCache,
}

impl Purpose {
    /// Never changed: values sealed under another name cannot be opened.
    fn name(self) -> &'static [u8] {
        match self {
            Self::Configuration => b"portcullis configuration v1",
            Self::Member => b"portcullis member v1",
            Self::HttpCache => b"portcullis http cache v1",
        }
    }
}

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const ID_CHARACTERS_MAX: usize = 32;
/// More keys than any rotation needs.
const KEYS_MAX: usize = 16;

/// The gateway's keys: the first seals, all open.
#[derive(Clone)]
pub struct KeyRing {
    /// Not empty.
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: String,
    secret: Secret<[u8; KEY_BYTES]>,
}

/// Ids only.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}

/// Reading and writing the file of keys: a line `id: key` for each, the key in base64; empty lines, and those that
/// begin with `#`, are left out.
impl KeyRing {
    /// Reads the text of the file `file`.
    ///
    /// # Errors
    /// Every line that is no key, by its number and without what it holds, and a file without a key.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut keys: Vec<Key> = Vec::new();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{file}:{}", index + 1);
            match Key::parse(line) {
                Err((what, remedy)) => {
                    problems.push(Diagnostic::error(format!("{place}: {what}")).help(remedy));
                }
                Ok(key) if keys.iter().any(|known| known.id == key.id) => problems.push(
                    Diagnostic::error(format!("{place}: a second key with the id `{}`", key.id))
                        .help("give each key an id of its own, and never use an id again"),
                ),
                Ok(key) => keys.push(key),
            }
        }
        if keys.len() > KEYS_MAX {
            problems.push(
                Diagnostic::error(format!("{file}: {} keys, at most {KEYS_MAX} fit", keys.len()))
                    .help("remove those that seal nothing any more"),
            );
        }
        if keys.is_empty() && problems.is_empty() {
            problems.push(Diagnostic::error(format!("{file}: there is no key in it")).help(MAKE_ONE));
        }
        if problems.is_empty() { Ok(Self { keys }) } else { Err(problems) }
    }

    /// A line for the file, with a new key.
    pub fn new_line(id: &str) -> String {
        format!("{id}: {}", STANDARD.encode(random::<KEY_BYTES>()))
    }

    /// In the order of the file.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }
}

const MAKE_ONE: &str = "make one: portcullis cluster-key >> FILE";

impl Key {
    /// # Errors
    /// What is wrong and what to do.
    fn parse(line: &str) -> Result<Self, (String, String)> {
        let Some((id, key)) = line.split_once(':') else {
            return Err((
                "this is no key".to_owned(),
                format!("expected `id: key`, the key in base64; {MAKE_ONE}"),
            ));
        };
        let id = id.trim_end();
        let is_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > ID_CHARACTERS_MAX || !id.chars().all(is_id) {
            return Err((
                "the id of this key is not valid".to_owned(),
                format!("expected 1 to {ID_CHARACTERS_MAX} letters, digits, `.`, `_` and `-`"),
            ));
        }
        let bytes = STANDARD.decode(key.trim()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|bytes| bytes.iter().any(|byte| *byte != bytes[0])) else {
            return Err((
                format!("the key `{id}` is not {KEY_BYTES} random bytes in base64"),
                MAKE_ONE.to_owned(),
            ));
        };
        Ok(Self { id: id.to_owned(), secret: Secret::new(bytes) })
    }

    fn cipher(&self, purpose: Purpose, salt: &[u8]) -> LessSafeKey {
        let prk = Salt::new(HKDF_SHA256, salt).extract(self.secret.expose());
        let info = [purpose.name()];
        let derived = prk.expand(&info, &AES_256_GCM).map(UnboundKey::from);
        LessSafeKey::new(derived.expect("HKDF-SHA256 gives up to 255 hashes, and a key is one"))
    }
}

impl KeyRing {
    /// Seals a value, with the first key. `aad` is bound to it: it opens with the same one only.
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = &self.keys[0];
        let (salt, nonce) = (random::<SALT_BYTES>(), random::<NONCE_LEN>());
        let mut sealed = plain.to_vec();
        let cipher = key.cipher(purpose, &salt);
        let aad = Aad::from(aad);
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("what is sealed is far below the 64 GiB of AES-GCM");
        let id = key.id.as_bytes();
        let id_length = u8::try_from(id.len()).expect("an id has at most 32 characters");
        [&[FORMAT, id_length], id, &salt, &nonce, &sealed].concat()
    }

    /// Whether a value names the first key as the one that sealed it: else it should be sealed anew, for its key may
    /// go.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        let id = self.keys[0].id.as_bytes();
        sealed.get(1).is_some_and(|length| usize::from(*length) == id.len()) && sealed[2..].starts_with(id)
    }

    /// Opens what [`KeyRing::seal`] made with any of the keys for the same purpose and `aad`; else, whatever the
    /// bytes are, nothing.
    pub fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let [FORMAT, id_length, rest @ ..] = sealed else { return None };
        let (id, rest) = rest.split_at_checked(usize::from(*id_length))?;
        let (salt, rest) = rest.split_at_checked(SALT_BYTES)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN)?;
        let key = self.keys.iter().find(|key| key.id.as_bytes() == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = rest.to_vec();
        let plain = key.cipher(purpose, salt).open_in_place(nonce, Aad::from(aad), &mut text).ok()?.len();
        text.truncate(plain);
        Some(text)
    }
}

/// Bytes that nobody has had before, here or elsewhere, and nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has a source of random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[&str]) -> (KeyRing, Vec<String>) {
        let lines: Vec<String> = ids.iter().map(|id| KeyRing::new_line(id)).collect();
        (KeyRing::parse("keys", &lines.join("\n")).expect("the lines are good"), lines)
    }

    fn parse(lines: &[&str]) -> KeyRing {
        KeyRing::parse("keys", &lines.join("\n")).expect("the lines are good")
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_purpose_and_data_and_not_otherwise() {
        let (ring, _) = ring(&["a"]);
        let sealed = ring.seal(Purpose::Configuration, b"gateway", b"plain");
        assert_eq!(ring.open(Purpose::Configuration, b"gateway", &sealed).as_deref(), Some(&b"plain"[..]));
        assert_eq!(ring.open(Purpose::HttpCache, b"gateway", &sealed), None);
        assert_eq!(ring.open(Purpose::Configuration, b"another", &sealed), None);
        let other = super::tests::ring(&["a"]).0;
        assert_eq!(other.open(Purpose::Configuration, b"gateway", &sealed), None);
    }

    #[test]
    fn an_empty_value_can_be_sealed_and_two_of_the_same_value_differ() {
        let (ring, _) = ring(&["a"]);
        let one = ring.seal(Purpose::Member, b"", b"");
        assert_ne!(one, ring.seal(Purpose::Member, b"", b""));
        assert_eq!(ring.open(Purpose::Member, b"", &one), Some(Vec::new()));
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (_, lines) = ring(&["old", "new"]);
        let (old, new) = (&lines[0], &lines[1]);
        let before = parse(&[old]).seal(Purpose::HttpCache, b"", b"x");
        let added = parse(&[old, new]);
        let turned = parse(&[new, old]);
        assert!(added.open(Purpose::HttpCache, b"", &before).is_some());
        assert!(turned.open(Purpose::HttpCache, b"", &before).is_some());
        assert!(added.is_current(&before) && !turned.is_current(&before) && !turned.is_current(b""));
        let after = turned.seal(Purpose::HttpCache, b"", b"x");
        assert!(added.open(Purpose::HttpCache, b"", &after).is_some());
        assert_eq!(parse(&[new]).open(Purpose::HttpCache, b"", &before), None);
        assert_eq!(parse(&[old]).open(Purpose::HttpCache, b"", &after), None);
    }

    #[test]
    fn no_damaged_value_opens_wherever_it_is_cut_or_changed() {
        let (ring, _) = ring(&["a"]);
        let sealed = ring.seal(Purpose::Configuration, b"gateway", b"plain");
        let open = |bytes: &[u8]| ring.open(Purpose::Configuration, b"gateway", bytes);
        for cut in 0..sealed.len() {
            assert_eq!(open(&sealed[..cut]), None, "{cut}");
            let mut changed = sealed.clone();
            changed[cut] ^= 1;
            assert_eq!(open(&changed), None, "{cut}");
        }
        assert_eq!(open(&[&sealed[..], b"x"].concat()), None);
        assert_eq!(open(&[1, 255]), None);
    }

    #[test]
    fn comments_and_empty_lines_are_left_out() {
        let line = KeyRing::new_line("2026-11");
        let ring = KeyRing::parse("keys", &format!("# ours\n\n  {line}  \r\n")).expect("it is good");
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["2026-11"]);
        assert_eq!(format!("{ring:?}"), r#"{"2026-11"}"#);
    }

    #[test]
    fn a_line_that_is_no_key_is_named_without_what_it_holds() {
        let good = KeyRing::new_line("a");
        let short = STANDARD.encode([7; 31]);
        let equal = STANDARD.encode([7; 32]);
        let text = format!("{good}\nhunter2\nb c: x\nd: hunter2\ne: {short}\nf: {equal}\n{good}");
        let problems = KeyRing::parse("/etc/keys", &text).expect_err("it is bad");
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "error: /etc/keys:2: this is no key\n = help: expected `id: key`, the key in base64; make one: portcullis \
             cluster-key >> FILE",
            "error: /etc/keys:3: the id of this key is not valid\n = help: expected 1 to 32 letters, digits, `.`, `_` \
             and `-`",
            "error: /etc/keys:4: the key `d` is not 32 random bytes in base64\n = help: make one: portcullis \
             cluster-key >> FILE",
            "error: /etc/keys:5: the key `e` is not 32 random bytes in base64\n = help: make one: portcullis \
             cluster-key >> FILE",
            "error: /etc/keys:6: the key `f` is not 32 random bytes in base64\n = help: make one: portcullis \
             cluster-key >> FILE",
            "error: /etc/keys:7: a second key with the id `a`\n = help: give each key an id of its own, and never use \
             an id again",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_file_without_a_key_or_with_too_many_is_refused() {
        let refused = |text: &str| match KeyRing::parse("keys", text) {
            Ok(ring) => panic!("{ring:?}"),
            Err(problems) => problems[0].message.clone(),
        };
        assert_eq!(refused("# nothing\n"), "keys: there is no key in it");
        let many: String = (0..17).map(|n| KeyRing::new_line(&n.to_string()) + "\n").collect();
        assert_eq!(refused(&many), "keys: 17 keys, at most 16 fit");
    }
}
