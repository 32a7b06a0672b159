//! Sets of IP addresses for the IP policies (policies reference 2.10): sorted ranges that do not
//! overlap, found by binary search, so a list may have thousands of entries.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    expression::Template,
    http::{Request, headers::trim},
    policy::{
        ConfigProblem, Next, PolicyServices, Rejection, RequestScope, chain::PolicyObserver, scope::advise,
    },
};

/// Addresses and networks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ascending, apart from each other; both ends belong to a range.
#[derive(Debug, PartialEq, Eq)]
struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Ranges<T> {
    /// Sorts and merges what overlaps.
    fn settle(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, last| {
            let overlaps = next.0 <= last.1;
            if overlaps {
                last.1 = last.1.max(next.1);
            }
            overlaps
        });
    }

    fn contains(&self, address: T) -> bool {
        let after = self.0.partition_point(|range| range.0 <= address);
        after.checked_sub(1).is_some_and(|index| address <= self.0[index].1)
    }
}

impl AddressSet {
    /// # Errors
    /// A problem for each entry that is none of the forms, at `ips[n]`.
    pub fn parse(entries: &[String]) -> Result<Self, Vec<ConfigProblem>> {
        let mut set = Self::default();
        let mut problems = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match parse_entry(entry.trim()) {
                Some(IpNet::V4(net)) => set.v4.0.push((net.network().into(), net.broadcast().into())),
                Some(IpNet::V6(net)) => set.v6.0.push((net.network().into(), net.broadcast().into())),
                None => problems.push(
                    ConfigProblem::new(
                        format!("ips[{index}]"),
                        format!("`{entry}` is no IP address or network"),
                    )
                    .help(
                        "write an address, a network (10.0.0.0/8, 2001:db8::/32) or leading octets (192.168)",
                    ),
                ),
            }
        }
        set.v4.settle();
        set.v6.settle();
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    }

    /// IPv4 addresses written as IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }
}

/// Length of the prefix `::ffff:0:0` of IPv4 addresses written as IPv6.
const MAPPED_PREFIX: u8 = 96;

fn parse_entry(entry: &str) -> Option<IpNet> {
    if let Ok(net) = entry.parse::<IpNet>() {
        return Some(match net {
            IpNet::V6(net) if net.prefix_len() >= MAPPED_PREFIX => match net.addr().to_ipv4_mapped() {
                Some(v4) => IpNet::new(v4.into(), net.prefix_len() - MAPPED_PREFIX).ok()?,
                None => IpNet::V6(net),
            },
            net => net,
        });
    }
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    leading_octets(entry)
}

/// `192.168.2` is 192.168.2.0/24.
fn leading_octets(entry: &str) -> Option<IpNet> {
    let mut octets = [0_u8; 4];
    let mut count = 0;
    for part in entry.split('.') {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let zero_led = part.len() > 1 && part.starts_with('0');
        if !plain || zero_led {
            return None;
        }
        *octets.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    let bits = u8::try_from(count * 8).ok()?;
    IpNet::new(Ipv4Addr::from(octets).into(), bits).ok()
}

/// The left-most element of a list of addresses, without port and zone; `None` when it is none.
pub fn first_address(list: &str) -> Option<IpAddr> {
    let first = list.split(',').next()?;
    let first = std::str::from_utf8(trim(first.as_bytes())).ok()?;
    let host = match first.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            let is_port = port.strip_prefix(':').map_or(port.is_empty(), is_digits);
            is_port.then_some(host)?
        }
        None => match first.split_once(':') {
            Some((host, port)) if is_digits(port) && host.contains('.') => host,
            _ => first,
        },
    };
    let host = host.split_once('%').map_or(host, |(address, _zone)| address);
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What both policies read when nothing else is configured.
pub fn default_expression() -> Template {
    Template::compile("#[attributes.headers['x-forwarded-for']]").expect("the text of a valid expression")
}

/// The answer of both policies; it does not repeat the address.
pub fn refusal() -> Rejection {
    Rejection::json(403, "ip_not_allowed", "The IP address is not allowed.")
}

/// A list, and where the address of a request comes from.
pub struct AddressFilter {
    set: AddressSet,
    source: Source,
    observer: Arc<dyn PolicyObserver>,
}

enum Source {
    /// `#[attributes.remoteAddress]`, without making a text and reading it again.
    Peer,
    Expression(Template),
}

impl AddressFilter {
    /// Warns about addresses that clients can write.
    ///
    /// # Errors
    /// Entries that are none of the forms, an empty list, an expression that reads the body.
    pub fn new(
        ips: &[String],
        expression: Template,
        services: &PolicyServices,
    ) -> Result<Self, Vec<ConfigProblem>> {
        let field = "ipExpression";
        // A parameter left empty means its default (policies reference 1.4).
        let expression =
            if expression.source().trim().is_empty() { default_expression() } else { expression };
        advise(services, field, &expression);
        let source = expression.source().trim();
        if source.to_ascii_lowercase().contains("x-forwarded-for") && !services.proxies_are_declared {
            services.warn(
                ConfigProblem::new(field, "a client can write `x-forwarded-for` itself")
                    .help("where clients connect directly, use \"#[attributes.remoteAddress]\"")
                    .help("behind proxies, name them in the setting `trusted_proxies`"),
            );
        }
        if source.to_ascii_lowercase().contains("x-forwarded-for") && source.replace(' ', "").contains("[-1]")
        {
            services.warn(
                ConfigProblem::new(field, "the last element is the peer of the connection, which the gateway has appended")
                    .help("behind one proxy, write `[-2]`, or name it in the setting `trusted_proxies` and use the default"),
            );
        }
        let (set, mut problems) = match AddressSet::parse(ips) {
            Ok(set) => (set, Vec::new()),
            Err(problems) => (AddressSet::default(), problems),
        };
        if ips.is_empty() {
            problems.push(ConfigProblem::new("ips", "the list is empty"));
        }
        if expression.literal().is_some() {
            problems.push(
                ConfigProblem::new(field, "a plain text is the same for every request, and no address")
                    .help("write an expression, such as \"#[attributes.remoteAddress]\""),
            );
        }
        if expression.uses().payload {
            problems.push(ConfigProblem::new(field, "an address is not read from the body of a request"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let inner = source.strip_prefix("#[").and_then(|rest| rest.strip_suffix(']'));
        let source = match inner.map(str::trim) {
            Some("attributes.remoteAddress") => Source::Peer,
            _ => Source::Expression(expression),
        };
        Ok(Self { set, source, observer: Arc::clone(&services.observer) })
    }

    /// Whether the address of a request is listed; `None` when the value is null, fails or is no
    /// address.
    pub fn is_listed(&self, request: &Request, next: &Next<'_>) -> Option<bool> {
        let address = match &self.source {
            Source::Peer => request.peer.remote.ip().to_canonical(),
            Source::Expression(expression) => {
                let scope = RequestScope::new(request, next.exchange());
                let list = expression.eval_string(&scope);
                let list = list.inspect_err(|_| self.observer.failed()).ok().flatten()?;
                first_address(&list)?
            }
        };
        Some(self.set.contains(address))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{
        http::Response,
        policy::{
            Built, PolicyDefinition,
            testkit::{Bench, body_text, build},
        },
    };

    /// A policy with the default expression, which warns.
    pub fn bench<D: PolicyDefinition>(config: &str) -> Bench {
        let (built, found) = build::<D>(config);
        assert_eq!(found, ["W config.ipExpression: a client can write `x-forwarded-for` itself"]);
        let Some(Built::Step(policy)) = built else { panic!("built all the same") };
        Bench::new(policy)
    }

    pub fn from(bench: &Bench, forwarded_for: &str) -> Response {
        bench.get("/", &[("X-Forwarded-For", forwarded_for)])
    }

    pub fn assert_refused(response: Response) {
        assert_eq!(response.status, 403);
        assert_eq!(body_text(response), r#"{"error":"The IP address is not allowed."}"#);
    }

    fn set(entries: &[&str]) -> AddressSet {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        AddressSet::parse(&entries).expect("valid entries")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn assert_set(entries: &[&str], inside: &[&str], outside: &[&str]) {
        let set = set(entries);
        assert!(inside.iter().all(|text| set.contains(ip(text))), "{entries:?} should have {inside:?}");
        assert!(!outside.iter().any(|text| set.contains(ip(text))), "{entries:?} should lack {outside:?}");
    }

    #[test]
    fn one_address() {
        assert_set(&["192.168.1.1"], &["192.168.1.1"], &["192.168.1.0", "192.168.1.2", "::1"]);
    }

    #[test]
    fn host_bits_of_a_network_are_masked_away() {
        assert_set(&["192.168.3.1/30"], &["192.168.3.0", "192.168.3.3"], &["192.168.2.255", "192.168.3.4"]);
        assert_set(&["0.0.0.0/0"], &["0.0.0.0", "255.255.255.255"], &["::"]);
    }

    #[test]
    fn leading_octets_stand_for_a_network() {
        assert_set(&["192.168.2"], &["192.168.2.0", "192.168.2.255"], &["192.168.1.255", "192.168.3.0"]);
        assert_set(&["192.160"], &["192.160.0.0", "192.160.255.255"], &["192.161.0.0", "192.159.255.255"]);
        assert_set(&["10"], &["10.0.0.0", "10.255.255.255"], &["11.0.0.0"]);
    }

    #[test]
    fn ipv6_addresses_and_networks() {
        assert_set(&["2001:db8::1"], &["2001:db8::1"], &["2001:db8::2"]);
        assert_set(
            &["2001:db8::/32"],
            &["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
            &["2001:db7::", "2001:db9::"],
        );
    }

    #[test]
    fn ipv4_written_as_ipv6_is_ipv4_on_both_sides() {
        assert_set(&["10.0.0.1"], &["::ffff:10.0.0.1"], &["::10.0.0.1"]);
        assert_set(&["::ffff:10.0.0.0/120", "::ffff:9.9.9.9"], &["10.0.0.200", "9.9.9.9"], &["10.0.1.0"]);
    }

    #[test]
    fn entries_that_overlap_are_merged() {
        let merged = set(&["10.0.0.0/24", "10.0.0.128/25", "10.0.0.5", "10.0.0.0/16", "9.0.0.0/8"]);
        assert_eq!(merged.v4.0.len(), 2);
        assert!(merged.contains(ip("10.0.200.1")) && !merged.contains(ip("10.1.0.0")));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_an_error() {
        let entries = [
            "10.0.0.1",
            "10.0.0.256",
            "1.2.3.4.5",
            "10.0.0.0/33",
            "",
            "host.test",
            "10..1",
            "010.1",
            "fe80::/129",
        ];
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let problems = AddressSet::parse(&entries).expect_err("bad entries");
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["ips[1]", "ips[2]", "ips[3]", "ips[4]", "ips[5]", "ips[6]", "ips[7]", "ips[8]"]);
        assert_eq!(problems[0].message, "`10.0.0.256` is no IP address or network");
    }

    #[test]
    fn the_left_most_element_counts_without_port_and_zone() {
        for (text, expected) in [
            ("1.2.3.4", Some("1.2.3.4")),
            (" 1.2.3.4 , 5.6.7.8", Some("1.2.3.4")),
            ("1.2.3.4:5678", Some("1.2.3.4")),
            ("[::1]:443", Some("::1")),
            ("[::1]", Some("::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[fe80::1%eth0]:80", Some("fe80::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("[::ffff:1.2.3.4]:1", Some("1.2.3.4")),
            ("", None),
            (", 1.2.3.4", None),
            ("unknown", None),
            ("1.2.3.4:x", None),
            ("[::1", None),
            ("[::1]x", None),
            ("1.2.3", None),
            ("01.2.3.4", None),
        ] {
            assert_eq!(first_address(text), expected.map(ip), "{text}");
        }
    }

    #[test]
    fn searching_agrees_with_looking_at_every_entry() {
        let mut random = fastrand::Rng::with_seed(11);
        let entries: Vec<String> =
            (0..500).map(|_| format!("{}/{}", Ipv4Addr::from(random.u32(..)), random.u8(8..=32))).collect();
        let nets: Vec<IpNet> = entries.iter().map(|entry| entry.parse().expect("a network")).collect();
        let set = AddressSet::parse(&entries).expect("valid entries");
        for _ in 0..20_000 {
            let net = nets[random.usize(..nets.len())];
            let IpAddr::V4(near) = net.addr() else { continue };
            let address = IpAddr::from(Ipv4Addr::from(u32::from(near).wrapping_add(random.u32(..1 << 17))));
            assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)), "{address}");
        }
    }
}
