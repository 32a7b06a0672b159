//! What Redis answers, as what was asked for. Pure functions: whoever can write there can make it say anything, so
//! nothing here trusts a type, a length or a number. [`Malformed`] tells neither a value nor a secret.

use std::{fmt, net::Ipv6Addr, time::Duration};

use redis::{ServerError, Value};

use super::{
    link::Server,
    plan::Address,
    slots::{SLOTS, Share},
};
use crate::storage::{
    Beat, Unavailable, VALUE_BYTES_MAX, Versioned,
    quota::{Answer, Call, Leased, NUMBER_MAX, Window},
};

/// Bytes of a name: of a member, of a host.
pub const NAME_BYTES_MAX: usize = 4096;
/// Members of which one answer tells.
pub const MEMBERS_MAX: usize = 1000;
/// What a member says of itself, bytes.
pub const BEAT_BYTES_MAX: usize = 4096;
/// Shares of a cluster: at worst each slot is one.
const SHARES_MAX: usize = SLOTS as usize;

/// Not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

type Read<T> = Result<T, Malformed>;

/// A value, or that it is too large to come this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    Nothing,
    Value(T),
    /// So many bytes.
    Large(u64),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what is no {}", self.0)
    }
}

impl From<Malformed> for Unavailable {
    fn from(malformed: Malformed) -> Self {
        Self(format!("Redis answers {malformed}"))
    }
}

/// `+OK`.
pub fn done(answer: Value) -> Read<()> {
    matches!(answer, Value::Okay).then_some(()).ok_or(Malformed("confirmation"))
}

/// Whether something was done to a key. A lock that is there already is `nil`.
pub fn flag(answer: Value) -> Read<bool> {
    match answer {
        Value::Int(0) | Value::Nil => Ok(false),
        Value::Int(1) | Value::Okay => Ok(true),
        _ => Err(Malformed("yes or no")),
    }
}

/// A number that is not negative.
pub fn number(answer: &Value) -> Read<u64> {
    match answer {
        Value::Int(number) => u64::try_from(*number).map_err(|_| Malformed("number")),
        _ => Err(Malformed("number")),
    }
}

/// Of the script `get`.
pub fn value(answer: Value) -> Read<Fetched<Vec<u8>>> {
    match answer {
        Value::Nil => Ok(Fetched::Nothing),
        Value::Int(_) => number(&answer).map(Fetched::Large),
        Value::BulkString(bytes) if bytes.len() <= VALUE_BYTES_MAX => Ok(Fetched::Value(bytes)),
        _ => Err(Malformed("value")),
    }
}

/// Of the script `versioned`.
pub fn versioned(answer: Value) -> Read<Fetched<Versioned>> {
    let items = match answer {
        Value::Nil => return Ok(Fetched::Nothing),
        Value::Array(items) => items,
        _ => return Err(Malformed("versioned value")),
    };
    let Ok([version, stored]) = <[Value; 2]>::try_from(items) else {
        return Err(Malformed("versioned value"));
    };
    // Without a version in our form it is not ours.
    let version = text(version, 20).ok().filter(|text| text.len() == 20);
    let version = version.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(version) = version.and_then(|text| text.parse().ok()) else { return Ok(Fetched::Nothing) };
    Ok(match value(stored)? {
        Fetched::Nothing => Fetched::Nothing,
        Fetched::Large(bytes) => Fetched::Large(bytes),
        Fetched::Value(value) => Fetched::Value(Versioned { version, value }),
    })
}

/// Members of a list. A name that is no text is not ours, and left out.
pub fn members(answer: Value) -> Read<Vec<String>> {
    let members = list(answer, MEMBERS_MAX, "list of members")?;
    Ok(members.into_iter().filter_map(|member| text(member, NAME_BYTES_MAX).ok()).collect())
}

/// Of the script `beat`, by name.
pub fn beats(answer: Value) -> Read<Vec<Beat>> {
    let mut items = list(answer, 3 * MEMBERS_MAX, "list of members")?.into_iter();
    let mut beats = Vec::new();
    while let Some(member) = items.next() {
        let (Some(said), Some(age)) = (items.next(), items.next()) else {
            return Err(Malformed("list of members"));
        };
        let age = Duration::from_micros(number(&age)?);
        let Value::BulkString(value) = said else { return Err(Malformed("list of members")) };
        if let Ok(member) = text(member, NAME_BYTES_MAX)
            && value.len() <= BEAT_BYTES_MAX
        {
            beats.push(Beat { member, value, age });
        }
    }
    beats.sort_by(|one, other| one.member.cmp(&other.member));
    beats.dedup_by(|one, other| one.member == other.member);
    Ok(beats)
}

/// Of the script `lease`, for this call.
pub fn leased(answer: Value, call: &Call) -> Read<Answer> {
    const WHAT: &str = "lease";
    let numbers = list(answer, 8, WHAT)?.iter().map(number).collect::<Read<Vec<u64>>>()?;
    let [1, start, end, left, carried, forgotten, grant, rest] = numbers[..] else {
        return if numbers == [0] { Ok(Answer::Stale) } else { Err(Malformed(WHAT)) };
    };
    let sound = start < end
        && end <= 2 * NUMBER_MAX
        && (1..=end - start).contains(&left)
        && carried <= 1
        && forgotten <= u64::from(call.granted)
        && grant <= call.want
        && rest <= call.limit;
    let window = Window { start, end };
    let leased = Leased { window, left, carried: carried == 1, forgotten: forgotten == 1, grant, rest };
    if sound { Ok(Answer::Leased(leased)) } else { Err(Malformed(WHAT)) }
}

/// Of `HELLO`.
pub fn hello(answer: Value) -> Read<Server> {
    const WHAT: &str = "greeting";
    let Value::Map(pairs) = answer else { return Err(Malformed(WHAT)) };
    let mut server = Server::default();
    for (name, value) in pairs {
        let field = match text(name, NAME_BYTES_MAX)?.as_str() {
            "version" => &mut server.version,
            "mode" => &mut server.mode,
            "role" => &mut server.role,
            _ => continue,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let word = text(value, 64)?;
        if !word.chars().all(plain) {
            return Err(Malformed(WHAT));
        }
        *field = word;
    }
    if server.version.is_empty() { Err(Malformed(WHAT)) } else { Ok(server) }
}

/// The first word of `ROLE`.
pub fn role(answer: &Value) -> Option<&str> {
    match answer {
        Value::Array(items) => match items.first()? {
            Value::BulkString(role) => std::str::from_utf8(role).ok(),
            Value::SimpleString(role) => Some(role),
            _ => None,
        },
        _ => None,
    }
}

/// A host and a port, as sentinels tell them.
pub fn address(answer: Value) -> Read<Address> {
    const WHAT: &str = "address";
    let Ok([host, port]) = <[Value; 2]>::try_from(list(answer, 2, WHAT)?) else {
        return Err(Malformed(WHAT));
    };
    let port = text(port, 5)?.parse().map_err(|_| Malformed(WHAT))?;
    host_and_port(&text(host, NAME_BYTES_MAX)?, port).ok_or(Malformed(WHAT))
}

/// Of `CLUSTER SLOTS`, as the node at `asked` tells it.
pub fn shares(answer: Value, asked: &Address) -> Read<Vec<Share>> {
    const WHAT: &str = "map of slots";
    let share = |share: Value| {
        let mut items = list(share, NAME_BYTES_MAX, WHAT)?.into_iter();
        let mut slot = || {
            let slot = number(&items.next().ok_or(Malformed(WHAT))?)?;
            u16::try_from(slot).ok().filter(|slot| *slot < SLOTS).ok_or(Malformed(WHAT))
        };
        let (first, last) = (slot()?, slot()?);
        let mut master = list(items.next().ok_or(Malformed(WHAT))?, NAME_BYTES_MAX, WHAT)?.into_iter();
        let (Some(host), Some(port)) = (master.next(), master.next()) else { return Err(Malformed(WHAT)) };
        // A node that does not know its own address is where it was asked.
        let host = match host {
            Value::Nil => String::new(),
            host => text(host, NAME_BYTES_MAX)?,
        };
        let host = if matches!(host.as_str(), "" | "?") { asked.host.clone() } else { host };
        let port = u16::try_from(number(&port)?).map_err(|_| Malformed(WHAT))?;
        let master = host_and_port(&host, port).ok_or(Malformed(WHAT))?;
        if first > last { Err(Malformed(WHAT)) } else { Ok(Share { first, last, master }) }
    };
    list(answer, SHARES_MAX, WHAT)?.into_iter().map(share).collect()
}

/// The slot and the node of a `MOVED` or `ASK`, as the node at `asked` tells it.
pub fn redirection(error: &ServerError, asked: &Address) -> Read<(u16, Address)> {
    const WHAT: &str = "redirection";
    let (slot, to) = error.details().and_then(|details| details.split_once(' ')).ok_or(Malformed(WHAT))?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS).ok_or(Malformed(WHAT))?;
    let (host, port) = to.trim().rsplit_once(':').ok_or(Malformed(WHAT))?;
    let port = port.parse().map_err(|_| Malformed(WHAT))?;
    let host = if matches!(host, "" | "?") { asked.host.as_str() } else { host };
    Ok((slot, host_and_port(host, port).ok_or(Malformed(WHAT))?))
}

fn host_and_port(host: &str, port: u16) -> Option<Address> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named = !host.is_empty() && host.len() <= NAME_BYTES_MAX && host.chars().all(plain);
    (port != 0 && (named || host.parse::<Ipv6Addr>().is_ok())).then(|| Address::new(host, port))
}

fn list(answer: Value, max: usize, what: &'static str) -> Read<Vec<Value>> {
    match answer {
        Value::Array(items) if items.len() <= max => Ok(items),
        _ => Err(Malformed(what)),
    }
}

fn text(answer: Value, max: usize) -> Read<String> {
    match answer {
        Value::BulkString(bytes) if bytes.len() <= max => {
            String::from_utf8(bytes).map_err(|_| Malformed("text"))
        }
        Value::SimpleString(text) if text.len() <= max => Ok(text),
        _ => Err(Malformed("text")),
    }
}
