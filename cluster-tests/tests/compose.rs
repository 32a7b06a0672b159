//! The cluster that `scripts/` bring up: by compose from images that no registry gave, where a Docker engine is running, and as
//! local processes everywhere.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use cluster_tests::client::{Client, get};
use cluster_tests::{binary, eventually, ports};

/// What the scripts exit with where something of the machine is missing (sysexits.h).
const UNAVAILABLE: i32 = 69;

/// A cluster of the scripts, with a name, ports and a state folder of its own; it is taken down with the value.
struct Cluster {
    variables: Vec<(&'static str, String)>,
    options: &'static [&'static str],
    entry: u16,
    state: tempfile::TempDir,
}

impl Cluster {
    fn new(options: &'static [&'static str]) -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        let name = format!("portcullis-test-{}", std::process::id());
        let (entry, balancer, admins) = (ports::free(), ports::free(), ports::free());
        let variables = vec![
            ("PORTCULLIS_BIN", binary::portcullis().display().to_string()),
            ("PORTCULLIS_CLUSTER_DIR", state.path().display().to_string()),
            ("PORTCULLIS_ENTRY_PORT", entry.to_string()),
            ("PORTCULLIS_STATE_PORT", balancer.to_string()),
            ("PORTCULLIS_ADMIN_PORTS", format!("{admins}-{}", admins + 9)),
            // So that no image of this machine changes its meaning.
            ("PORTCULLIS_IMAGES", format!("{name}/")),
            ("COMPOSE_PROJECT_NAME", name),
        ];
        Self { variables, options, entry, state }
    }

    fn run(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables.iter().cloned()).current_dir(repository());
        command.output().expect("a script starts")
    }

    fn script(&self, name: &str, arguments: &[&str]) -> Output {
        self.run(repository().join("scripts").join(name), arguments)
    }

    /// What a script said that must succeed.
    #[track_caller]
    fn script_says(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.script(name, &[arguments, self.options].concat());
        assert!(output.status.success(), "{name} {arguments:?}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        self.run("docker", arguments)
    }

    fn image(&self, name: &str) -> String {
        let prefix =
            self.variables.iter().find(|(name, _)| *name == "PORTCULLIS_IMAGES").expect("set by new");
        format!("{}{name}", prefix.1)
    }

    fn entry(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.entry).into()
    }

    /// Each answer to a request on a connection of its own is 200, until every one of these replicas has had one.
    fn every_replica_gets_requests(&self, replicas: &[SocketAddr]) {
        for replica in replicas {
            eventually("a request at each replica", || {
                assert_eq!(get(self.entry(), "/limited/").status, 200);
                let metrics = Client::connect(*replica).get("/metrics", "localhost", "").text();
                let counted = r#"portcullis_api_requests_total{namespace="default",api="limited""#;
                metrics.lines().any(|line| line.starts_with(counted)).then_some(())
            });
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever the test got to: what is not there does no harm.
        let output = self.script("cluster-down", self.options);
        if !output.status.success() {
            println!("cluster-down: {}", said(&output));
        }
        if self.options.is_empty() {
            let names = ["portcullis:local", "portcullis-base:offline", "redis:7.0-bookworm", "haproxy:2.6"];
            let images = names.map(|name| self.image(name));
            let _ = self.docker(&[&["rmi"], images.each_ref().map(String::as_str).as_slice()].concat());
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies inside the workspace")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The admin addresses that `cluster-up` and `scale` print.
fn admins(text: &str) -> Vec<SocketAddr> {
    let found = text.lines().filter_map(|line| line.split_once(" admin http://"));
    found.map(|(_, address)| address.trim().parse().expect("an address with its port")).collect()
}

#[test]
fn by_compose_a_cluster_comes_up_without_a_registry_is_scaled_and_goes_down() {
    if !succeeds("docker", &["info"]) {
        println!("skipped: no Docker engine answers");
        return;
    }
    if !succeeds("docker", &["compose", "version"]) && !succeeds("docker-compose", &["version"]) {
        println!("skipped: Docker is running, compose is not installed");
        return;
    }
    let cluster = Cluster::new(&[]);
    let images = cluster.script("images", &["--offline"]);
    if images.status.code() == Some(UNAVAILABLE) {
        println!("skipped: {}", said(&images));
        return;
    }
    assert!(images.status.success(), "{}", said(&images));

    let image = cluster.image("portcullis:local");
    let user = said(&cluster.docker(&["inspect", "--format", "{{.Config.User}}", &image]));
    assert_eq!(user.trim(), "65532:65532");
    for shell in ["/bin/sh", "/bin/bash", "/usr/bin/busybox"] {
        let started = cluster.docker(&["run", "--rm", "--entrypoint", shell, &image, "-c", "true"]);
        assert!(!started.status.success(), "{shell} is there");
    }

    let up = cluster.script_says("cluster-up", &["3"]);
    let replicas = admins(&up);
    assert_eq!(replicas.len(), 3, "{up}");
    cluster.every_replica_gets_requests(&replicas);

    let containers = said(&cluster.docker(&["ps", "--quiet", "--filter", &format!("ancestor={image}")]));
    assert_eq!(containers.lines().count(), 3, "{containers}");
    for container in containers.lines() {
        let format = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}";
        let hardening = said(&cluster.docker(&["inspect", "--format", format, container]));
        assert_eq!(hardening.trim(), "true [ALL] [no-new-privileges:true]");
        eventually("the container's own check calls it healthy", || {
            let health = cluster.docker(&["inspect", "--format", "{{.State.Health.Status}}", container]);
            (said(&health).trim() == "healthy").then_some(())
        });
    }

    let fewer = cluster.script_says("scale", &["1"]);
    assert_eq!(admins(&fewer).len(), 1, "{fewer}");
    assert_eq!(get(cluster.entry(), "/free/").status, 200);

    cluster.script_says("cluster-down", &[]);
    let left = said(&cluster.docker(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={image}")]));
    assert_eq!(left, "");
}

#[test]
fn as_local_processes_a_cluster_comes_up_is_scaled_and_leaves_nothing_behind() {
    let cluster = Cluster::new(&["--local"]);
    let up = cluster.script_says("cluster-up", &["2"]);
    let replicas = admins(&up);
    assert_eq!(replicas.len(), 2, "{up}");
    cluster.every_replica_gets_requests(&replicas);

    let more = cluster.script_says("scale", &["3"]);
    assert_eq!(admins(&more).len(), 3, "{more}");
    cluster.every_replica_gets_requests(&admins(&more));

    let run = cluster.state.path().join("run");
    let files = std::fs::read_dir(&run).expect("the state of the processes");
    let ids: Vec<String> = files
        .map(|entry| entry.expect("an entry of a folder that was just opened").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pid"))
        .map(|path| std::fs::read_to_string(path).expect("a process id"))
        .collect();
    assert_eq!(ids.len(), 7, "redis, links, echo, entry and three gateways: {ids:?}");

    cluster.script_says("cluster-down", &[]);
    assert!(!run.exists());
    for id in ids {
        let (id, _) = id.split_once(' ').expect("an id and when it started");
        assert!(!Path::new("/proc").join(id).join("exe").exists(), "process {id} is still there");
    }
    assert!(std::net::TcpStream::connect(cluster.entry()).is_err());
}
