//! What standard output does with lines when its target takes only some of them.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
};

use super::super::{
    output::{Failure, Sink as _},
    sinks::StdoutSink,
};

/// More than a socket takes at once, in one line.
fn long_line() -> Vec<u8> {
    let mut line = vec![b'x'; 4 << 20];
    line.push(b'\n');
    line
}

fn of(stream: UnixStream) -> File {
    OwnedFd::from(stream).into()
}

#[test]
fn a_standard_output_that_does_not_block_loses_and_tears_no_line() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("possible");
    let reader = thread::spawn(move || {
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).expect("an end");
        read
    });
    let mut sink = StdoutSink::new(of(ours));
    let mut expected = long_line();
    expected.extend_from_slice(b"next\n");
    for mut batch in [long_line(), b"next\n".to_vec()] {
        sink.deliver(&mut batch).expect("waited for");
        assert!(batch.is_empty());
    }
    drop(sink);
    assert!(reader.join().expect("no panic") == expected);
}

#[test]
fn a_full_disk_behind_standard_output_is_tried_again() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut sink = StdoutSink::new(full);
    let mut batch = b"one\n".to_vec();
    for _ in 0..2 {
        assert!(matches!(sink.deliver(&mut batch), Err(Failure::Later(_))));
        assert_eq!(batch, b"one\n");
    }
    let mut file = tempfile::tempfile().expect("a file");
    sink.out = file.try_clone().expect("a descriptor");
    sink.deliver(&mut batch).expect("there is room");
    let mut text = String::new();
    file.rewind().expect("a file");
    file.read_to_string(&mut text).expect("UTF-8");
    assert_eq!(text, "one\n");
}

#[test]
fn a_line_is_never_glued_to_half_of_another() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let mut sink = StdoutSink::new(of(ours));
    let reader = thread::spawn(move || theirs.read_exact(&mut [0]).expect("a byte"));
    // The reader goes within the line.
    assert!(matches!(sink.deliver(&mut long_line()), Err(Failure::Never(_))));
    reader.join().expect("no panic");
    assert!(matches!(sink.deliver(&mut b"lost\n".to_vec()), Err(Failure::Never(_))));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    sink.out = File::create(&path).expect("a file");
    for mut batch in [b"next\n".to_vec(), b"last\n".to_vec()] {
        sink.deliver(&mut batch).expect("written");
    }
    assert_eq!(fs::read_to_string(&path).expect("there"), "\nnext\nlast\n");
}
