//! Our writers against independent, slow, obviously right parsers (decision 25). `tests/framing.rs` holds the
//! parsers against them.

mod bodies;
pub mod oracle;

/// A generator whose seed is printed when a test fails.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PORTCULLIS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
