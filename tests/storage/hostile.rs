//! A server that is no Redis, or none that means well: in plain TCP whoever is in between can say anything.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis::storage::{Keys, Storage, redis::plan::Plan};

use super::{GATEWAY, THREAD, address, eventually, run};

/// Answers `HELLO` with this, and each other command with what is set.
pub struct Impostor {
    pub address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Impostor {
    pub fn new(hello: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new(b"+OK\r\n".to_vec()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (hello, answers, count) = (hello.to_owned(), Arc::clone(&answer), Arc::clone(&asked));
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (hello, answers, count) = (hello.clone(), Arc::clone(&answers), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &hello, &answers, &count));
            }
        });
        Self { address, answer, asked }
    }

    pub fn says(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().expect("no panic") = answer.into();
    }

    /// How often it was asked something that is answered with what is set.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, hello: &str, answers: &Mutex<Vec<u8>>, asked: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let command = read_command(&mut reader)?;
        let answer = match command.first()?.to_ascii_uppercase().as_slice() {
            b"HELLO" => hello.as_bytes().to_vec(),
            b"PING" => b"+PONG\r\n".to_vec(),
            _ => {
                asked.fetch_add(1, Ordering::SeqCst);
                answers.lock().ok()?.clone()
            }
        };
        stream.write_all(&answer).ok()?;
    }
}

fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim().get(1..)?.parse::<usize>().ok()
    };
    let words = number(reader)?;
    let mut command = Vec::new();
    for _ in 0..words {
        let mut word = vec![0; number(reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        command.push(word);
    }
    Some(command)
}

fn hello(version: &str) -> String {
    format!("%3\r\n+version\r\n+{version}\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n")
}

async fn refused(impostor: &Impostor) -> String {
    let storage = Storage::in_memory();
    storage.attach(Some(&Plan::standalone(address(impostor.address))), &THREAD).expect("a plan");
    eventually("it is refused", async || storage.status().nodes[0].last_error.clone()).await
}

#[test]
fn versions_below_6_2_are_refused_with_the_reason() {
    run(async {
        for version in ["6.0.16", "5.0.7", "4.0.0", "0", "six", "6"] {
            let error = refused(&Impostor::new(&hello(version))).await;
            assert!(error.contains("6.2 or later is needed") && error.contains(version), "{error}");
        }
        let unknown =
            "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `gw`, `hunter2`,\r\n";
        let error = refused(&Impostor::new(unknown)).await;
        assert!(error.contains("6.2 or later is needed") && !error.contains("hunter2"), "{error}");
    });
}

#[test]
fn what_is_no_redis_is_not_spoken_to() {
    run(async {
        for greeting in [
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "*0\r\n",
            "+OK\r\n",
            "$536870912\r\n",
            "%1\r\n+version\r\n$7\r\n7\x1b[31m0\r\n",
            "-NOAUTH Authentication required.\r\n",
            "",
        ] {
            let error = refused(&Impostor::new(greeting)).await;
            assert!(!error.contains('\x1b'), "{error:?}");
        }
    });
}

#[test]
fn answers_that_are_no_answers_are_errors_and_the_next_call_is_answered() {
    let impostor = Impostor::new(&hello("7.0.15"));
    let deep = "*1\r\n".repeat(5000);
    let long = format!("+{}\r\n", "a".repeat(1 << 20));
    let wide = format!("*60000\r\n{}", ":1\r\n".repeat(60_000));
    let answers: Vec<&[u8]> = vec![
        b"$536870912\r\nabc",
        b"$-2\r\n",
        b"*99999999\r\n",
        b"*-7\r\n",
        deep.as_bytes(),
        long.as_bytes(),
        wide.as_bytes(),
        b"|1\r\n+a\r\n+b\r\n+OK\r\n",
        b"=15\r\ntxt:Some string\r\n",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        b"%-1\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b",nan\r\n",
        b"#t\r\n",
        b"_\r\n",
        b":-1\r\n",
        b"*7\r\n:1\r\n:5\r\n:4\r\n:1\r\n:0\r\n:0\r\n:0\r\n",
        b"*7\r\n:1\r\n:1\r\n:4\r\n:1\r\n:0\r\n:999\r\n:0\r\n",
        b">2\r\n+message\r\n+x\r\n+OK\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n",
        b"\xff\xfe\x00\x01",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-ASK 99999 nowhere\r\n",
        b"-\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-NOSCRIPT no\r\n",
    ];
    run(async {
        let storage = Storage::in_memory();
        storage.attach(Some(&Plan::standalone(address(impostor.address))), &THREAD).expect("a plan");
        let keys = Keys::of(GATEWAY);
        let key = keys.digested("x", &[b"x"]);
        let life = Duration::from_secs(1);
        for answer in answers {
            impostor.says(answer);
            // Neither the meaning nor the connection matters: that each call ends does.
            drop(storage.get(std::slice::from_ref(&key)).await);
            drop(storage.versioned(&key).await);
            drop(storage.set_if_absent(&key, b"1", life).await);
            drop(storage.beat(&key, "a", b"1", life).await);
            drop(storage.enlist(&key, "a", 1, life).await);
            drop(storage.increment(&key, life).await);
            drop(storage.publish(&keys.channel("x"), b"1").await);
            impostor.says("+OK\r\n");
            eventually("the next call is answered", async || storage.set(&key, b"1", life).await.ok()).await;
        }
    });
}
