//! From a path to the API instance that serves it (configuration reference 4.3).
//!
//! Base paths on a port never contain each other, so one hash look-up per distinct depth finds the
//! instance: matching among 1,000 costs what matching among one costs.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::InstancePlan;

/// The instances of one port.
#[derive(Default)]
pub struct Router {
    /// The keys come from the configuration, so nobody can choose them to collide.
    by_base_path: HashMap<Box<str>, Arc<InstancePlan>, foldhash::fast::RandomState>,
    /// Numbers of segments that base paths on this port have.
    depths: Vec<usize>,
}

/// An instance that serves a path.
pub struct Matched<'a> {
    pub instance: &'a Arc<InstancePlan>,
    /// The path lacks the slash that the base path ends in (`base_path_canonicalizer`).
    pub slash_missing: bool,
}

impl Router {
    /// Base paths must be distinct; of two that are equal the first stays.
    pub fn new(instances: impl IntoIterator<Item = Arc<InstancePlan>>) -> Self {
        let mut router = Self::default();
        for instance in instances {
            let depth = instance.base_path.matches('/').count();
            if !router.depths.contains(&depth) {
                router.depths.push(depth);
            }
            router.by_base_path.entry(instance.base_path.clone()).or_insert(instance);
        }
        router.depths.sort_unstable();
        router
    }

    /// The instance for a normalised path, asked for at a local address.
    pub fn find(&self, path: &str, local: IpAddr) -> Option<Matched<'_>> {
        let mut ends = memchr::memchr_iter(b'/', path.as_bytes()).skip(1).chain(std::iter::once(path.len()));
        let mut passed = 0;
        for &depth in &self.depths {
            let end = match depth {
                0 => 0,
                _ => {
                    let end = ends.nth(depth - passed - 1)?;
                    passed = depth;
                    end
                }
            };
            if let Some(instance) = self.by_base_path.get(&path[..end])
                && answers(instance.host, local)
            {
                let slash_missing = instance.slash_required && end == path.len();
                return Some(Matched { instance, slash_missing });
            }
        }
        None
    }

    pub fn instances(&self) -> impl Iterator<Item = &Arc<InstancePlan>> {
        self.by_base_path.values()
    }
}

/// Whether an instance bound to `host` answers a connection made to `local`.
fn answers(host: IpAddr, local: IpAddr) -> bool {
    if host.is_unspecified() { host.is_ipv4() == local.is_ipv4() } else { host == local }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ResourceName, policy::Chain, telemetry::metrics::Registry};

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn instance(name: &str, host: &str, base_path: &str) -> Arc<InstancePlan> {
        let name = ResourceName::new("default", name);
        let metrics = Registry::new(1).api(&name);
        Arc::new(InstancePlan {
            name,
            host: host.parse().unwrap(),
            port: 8080,
            base_path: base_path.trim_end_matches('/').into(),
            slash_required: base_path.ends_with('/'),
            chain: Chain::default(),
            routes: Vec::new(),
            blocked: None,
            metrics,
        })
    }

    fn found(router: &Router, path: &str) -> Option<String> {
        router.find(path, LOCAL).map(|matched| matched.instance.name.name.to_string())
    }

    #[test]
    fn a_base_path_matches_itself_and_what_is_below_it_by_segments() {
        let router = Router::new([
            instance("cat", "0.0.0.0", "/cat"),
            instance("cats", "0.0.0.0", "/cats"),
            instance("deep", "0.0.0.0", "/a/b/c"),
        ]);
        for (path, expected) in [
            ("/cat", Some("cat")),
            ("/cat/1", Some("cat")),
            ("/cats/1", Some("cats")),
            ("/catsx", None),
            ("/a/b/c/d", Some("deep")),
            ("/a/b", None),
            ("/", None),
        ] {
            assert_eq!(found(&router, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn no_base_path_serves_everything() {
        let router = Router::new([instance("all", "0.0.0.0", "")]);
        assert_eq!(found(&router, "/").as_deref(), Some("all"));
        assert_eq!(found(&router, "/any/thing").as_deref(), Some("all"));
    }

    #[test]
    fn a_base_path_with_a_final_slash_is_not_itself_served() {
        let router = Router::new([instance("foo", "0.0.0.0", "/foo/")]);
        let bare = router.find("/foo", LOCAL).unwrap();
        assert!(bare.slash_missing);
        assert!(!router.find("/foo/", LOCAL).unwrap().slash_missing);
        assert!(!router.find("/foo/x", LOCAL).unwrap().slash_missing);
    }

    #[test]
    fn an_instance_bound_to_an_address_answers_only_connections_made_to_it() {
        let router = Router::new([instance("one", "127.0.0.2", "/one"), instance("v6", "::", "/v6")]);
        assert!(router.find("/one", LOCAL).is_none());
        assert!(router.find("/one", "127.0.0.2".parse().unwrap()).is_some());
        assert!(router.find("/v6", LOCAL).is_none());
        assert!(router.find("/v6", "::1".parse().unwrap()).is_some());
    }
}
