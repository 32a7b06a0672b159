//! Certificates by `openssl`, and who issues them.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use super::{Front, Pair, text};

/// A certificate to be issued.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// As `openssl` writes it.
    pub subject: &'a str,
    /// Alternative names as `openssl` writes them; empty: none.
    pub names: &'a str,
    /// `rsa:2048`, or `ec`: on P-256.
    pub key: &'a str,
    pub life: Life,
}

/// How long a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Longer than a test.
    Days,
    AnHour,
    /// Its last day is long gone.
    Over,
    /// For ever, as RFC 5280 section 4.1.2.5 writes it.
    Endless,
}

impl Life {
    /// For `openssl ca`.
    fn dates(self) -> Vec<String> {
        match self {
            Self::Days => Vec::new(),
            Self::AnHour => {
                let date = Command::new("date").args(["-u", "-d", "+1 hour", "+%Y%m%d%H%M%SZ"]).output();
                let end = String::from_utf8(date.expect("date runs").stdout).expect("digits");
                vec!["-enddate".to_owned(), end.trim().to_owned()]
            }
            Self::Endless => ["-enddate", "99991231235959Z"].map(str::to_owned).to_vec(),
            Self::Over => {
                ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"].map(str::to_owned).to_vec()
            }
        }
    }
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { subject: "/CN=unused", names: "", key: "rsa:2048", life: Life::Days }
    }
}

/// A certificate authority of one test.
pub struct Authority {
    folder: tempfile::TempDir,
    issued: AtomicUsize,
}

/// What `openssl ca` has to be told.
const CONFIG: &str = "\
[ca]\ndefault_ca = it\n\
[it]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n\
default_days = 2\ndefault_crl_days = 2\nunique_subject = no\ncrlnumber = number\ncrl_extensions = of_lists\n\
[of_lists]\nauthorityKeyIdentifier = keyid:always\n\
[any]\ncommonName = optional\norganizationName = optional\n";

const OF_AUTHORITIES: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n\
     subjectKeyIdentifier=hash\n";

impl Authority {
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn new() -> Self {
        Self::named("test CA")
    }

    /// With this common name.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let authority = Self::empty();
        authority.request("ca", &format!("/CN={name}"), "rsa:2048");
        let signed =
            ["x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-days", "2", "-extfile", "ca.ext"];
        authority.openssl(&[&signed[..], &["-out", "ca.crt"]].concat());
        authority
    }

    /// Another one, whose own certificate this one has issued.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_for(name, Life::Days)
    }

    /// As [`Authority::intermediate`].
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn intermediate_for(&self, name: &str, life: Life) -> Self {
        self.below(name, OF_AUTHORITIES, "rsa:2048", life)
    }

    /// As [`Authority::intermediate`], with an RSA key of 1024 bits.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn weak_intermediate(&self, name: &str) -> Self {
        self.below(name, OF_AUTHORITIES, "rsa:1024", Life::Days)
    }

    /// One that issues certificates and may not: its own says that it is a host's.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn impostor(&self, host: &str) -> Self {
        self.below(
            host,
            &format!("basicConstraints=CA:FALSE\nsubjectAltName=DNS:{host}\n"),
            "rsa:2048",
            Life::Days,
        )
    }

    fn below(&self, name: &str, extensions: &str, key: &str, life: Life) -> Self {
        let below = Self::empty();
        let pair = self.sign(&format!("/CN={name}"), extensions, key, life);
        for (from, to) in [(pair.0, "ca.crt"), (pair.1, "ca.key")] {
            std::fs::copy(from, below.path(to)).expect("writable");
        }
        below
    }

    /// Another certificate for the key of an authority below, whose common name this is; PEM.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn cross_sign(&self, below: &Self, name: &str) -> String {
        let (key, subject) = (below.path("ca.key"), format!("/CN={name}"));
        let key = key.to_string_lossy();
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", "cross.csr"]);
        self.ca(&["-in", "cross.csr", "-out", "cross.crt", "-extfile", "ca.ext", "-notext"]);
        text(&self.path("cross.crt"))
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, content) in
            [("ca.cnf", CONFIG), ("ca.ext", OF_AUTHORITIES), ("index", ""), ("number", "01\n")]
        {
            std::fs::write(folder.path().join(file), content).expect("writable");
        }
        Self { folder, issued: AtomicUsize::new(0) }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// As [`Authority::certificate`], its content.
    #[must_use]
    pub fn pem(&self) -> String {
        text(&self.certificate())
    }

    /// Its own certificate and key.
    #[must_use]
    pub fn own(&self) -> Pair {
        (self.path("ca.crt"), self.path("ca.key"))
    }

    fn openssl(&self, arguments: &[&str]) {
        let run = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let run = run.expect("openssl is installed");
        assert!(run.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn request(&self, file: &str, subject: &str, key: &str) {
        let (key_file, request) = (format!("{file}.key"), format!("{file}.csr"));
        let curve = if key == "ec" { &["-pkeyopt", "ec_paramgen_curve:P-256"][..] } else { &[] };
        let asked =
            ["req", "-newkey", key, "-nodes", "-subj", subject, "-keyout", &key_file, "-out", &request];
        self.openssl(&[&asked[..], curve].concat());
    }

    fn sign(&self, subject: &str, extensions: &str, key: &str, life: Life) -> Pair {
        let file = format!("issued-{}", self.issued.fetch_add(1, Ordering::Relaxed));
        self.request(&file, subject, key);
        let names = ["csr", "ext", "crt", "key"].map(|ending| format!("{file}.{ending}"));
        let [request, extfile, crt, key] = &names;
        std::fs::write(self.path(extfile), extensions).expect("writable");
        let dates = life.dates();
        let dates: Vec<&str> = dates.iter().map(String::as_str).collect();
        self.ca(&[&["-in", request, "-out", crt, "-extfile", extfile, "-notext"][..], &dates].concat());
        (self.path(crt), self.path(key))
    }

    fn ca(&self, arguments: &[&str]) {
        let common =
            ["ca", "-batch", "-preserveDN", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key"];
        self.openssl(&[&common[..], arguments].concat());
    }

    /// A new certificate for a host name.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn issue(&self, host: &str) -> Pair {
        self.issue_as(Wanted { names: &format!("DNS:{host}"), ..Wanted::default() })
    }

    /// A new certificate.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn issue_as(&self, wanted: Wanted<'_>) -> Pair {
        let Wanted { subject, names, key, life } = wanted;
        let names = if names.is_empty() { String::new() } else { format!("subjectAltName={names}\n") };
        self.sign(subject, &format!("basicConstraints=CA:FALSE\n{names}"), key, life)
    }

    /// A certificate that nobody has issued but its owner, which says that it is an authority's, as `openssl req -x509`
    /// makes them. It lies in the folder of this authority and has nothing to do with it.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn self_signed(&self, host: &str) -> Pair {
        let (crt, key) = (format!("{host}.self.crt"), format!("{host}.self.key"));
        let names = format!("subjectAltName=DNS:{host}");
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=self"];
        self.openssl(&[&words[..], &["-keyout", &key, "-out", &crt, "-addext", &names]].concat());
        (self.path(&crt), self.path(&key))
    }

    /// A certificate of version 1, as `openssl x509 -req` makes it without extensions: nobody has issued it but its owner.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn of_version_1(&self, key: &str) -> Pair {
        let name = format!("version-1-{}", key.replace(':', "-"));
        self.request(&name, "/CN=an appliance", key);
        let [request, crt, key] = ["csr", "crt", "key"].map(|ending| format!("{name}.{ending}"));
        self.openssl(&["x509", "-req", "-in", &request, "-signkey", &key, "-days", "2", "-out", &crt]);
        (self.path(&crt), self.path(&key))
    }

    /// As [`Self::issue`], its key encrypted with a passphrase in the form with a `DEK-Info` header.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn encrypted(&self, host: &str, passphrase: &str) -> Pair {
        let (crt, key) = self.issue(host);
        let encrypted = key.with_extension("encrypted");
        let (from, to) = (key.to_string_lossy(), encrypted.to_string_lossy());
        let pass = format!("pass:{passphrase}");
        self.openssl(&["rsa", "-aes128", "-traditional", "-passout", &pass, "-in", &from, "-out", &to]);
        (crt, encrypted)
    }

    /// A certificate with that of this authority behind it, and its key.
    ///
    /// # Panics
    /// When the folder is gone.
    #[must_use]
    pub fn chain(&self, (crt, key): &Pair) -> Pair {
        let chain = crt.with_extension("chain");
        std::fs::write(&chain, text(crt) + &self.pem()).expect("writable");
        (chain, key.clone())
    }

    /// Revokes a certificate; the list of all that are, PEM.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn revoke(&self, (crt, _): &Pair) -> String {
        self.ca(&["-revoke", &crt.to_string_lossy()]);
        self.ca(&["-gencrl", "-out", "ca.crl"]);
        text(&self.path("ca.crl"))
    }

    /// The list of all that are revoked, PEM, signed with SHA-1.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn weak_list(&self) -> String {
        self.ca(&["-gencrl", "-md", "sha1", "-out", "weak.crl"]);
        text(&self.path("weak.crl"))
    }

    /// A TLS front for a host name, before a plain upstream.
    ///
    /// # Panics
    /// When Python fails.
    #[must_use]
    pub fn front(&self, host: &str, upstream: SocketAddr) -> Front {
        Front::start(&self.issue(host), upstream, json!({}))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
