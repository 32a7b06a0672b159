//! Our parsers and writers against independent, slow, obviously right ones (decision 25), on inputs
//! mutated from valid ones.

mod bodies;
mod heads;
pub mod oracle;

/// A generator whose seed is printed when a test fails.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PORTCULLIS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// One to three small damages, of the kinds that parsers disagree about.
pub fn mutate(random: &mut fastrand::Rng, valid: &[u8]) -> Vec<u8> {
    const PIECES: [&[u8]; 28] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"%",
        b"%2e",
        b"/",
        b"\\",
        b"?",
        b"#",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\x0b",
        b"0",
        b"5",
        b"f",
        b"\"",
        b"=",
        b"chunked",
        b"HTTP/1.1",
        b"[",
        b"@",
    ];
    let mut bytes = valid.to_vec();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(1..4)).min(bytes.len());
        match random.u8(..5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].iter().copied())),
            3 => {
                // A line once more, somewhere else.
                let lines: Vec<&[u8]> = valid.split_inclusive(|&b| b == b'\n').collect();
                let line = lines[random.usize(..lines.len())].to_vec();
                drop(bytes.splice(at..at, line));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
        }
    }
    bytes
}
