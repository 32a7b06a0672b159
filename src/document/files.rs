//! Files that somebody else names.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// The bytes of a file, one more than `bytes_max` of them at the most: of a larger one what comes after is not read.
///
/// # Errors
/// Of the system; it is not a file, but a device or a pipe that might have no end.
pub fn read_up_to(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file of `bytes_max` bytes at the most.
///
/// # Errors
/// As [`read_up_to`]; it is larger, or no UTF-8 text.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let bytes = read_up_to(path, bytes_max)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is larger than {} KiB", bytes_max >> 10)));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_asked_for_and_nothing_but_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sparse");
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        assert_eq!(read_up_to(&path, 10).map(|bytes| bytes.len()).ok(), Some(11));
        for endless in [Path::new("/dev/zero"), folder.path()] {
            let error = read_up_to(endless, 10).expect_err("not a file");
            assert_eq!(error.to_string(), "it is not a file");
        }
    }
}
