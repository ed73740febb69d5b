//! The processes of a fault test: operators, the simulated provider, and the wires to it, which can be cut.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::cluster::eventually;

const WHETSTONE: &str = env!("CARGO_BIN_EXE_whetstone");

/// Sends a signal to a process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// How an operator is started.
#[derive(Clone)]
pub(crate) struct Setup {
    pub kubeconfig: PathBuf,
    pub identity: String,
    pub namespaces: Vec<String>,
    pub store: PathBuf,
    pub log: PathBuf,
    pub max_cycles: usize,
    pub lease: Duration,
    /// A store on a small disk of its own: how many KiB it has.
    pub disk: Option<u32>,
}

/// `whetstone operator`. Killed when it is dropped.
pub(crate) struct Operator {
    pub setup: Setup,
    child: Child,
    listens: SocketAddr,
}

impl Operator {
    pub(crate) fn start(setup: &Setup) -> Self {
        let listens = free_address();
        let mut arguments: Vec<String> = vec!["operator".to_owned()];
        for namespace in &setup.namespaces {
            arguments.extend(["--namespace".to_owned(), namespace.clone()]);
        }
        let lease = format!("{}s", setup.lease.as_secs());
        for (name, value) in [
            ("--lease-namespace", setup.namespaces[0].as_str()),
            ("--lease-duration", &lease),
            ("--identity", &setup.identity),
            ("--store", setup.store.to_str().unwrap()),
            ("--allow-endpoint", "127.0.0.1"),
            ("--max-cycles", &setup.max_cycles.to_string()),
            ("--listen", &listens.to_string()),
        ] {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        let mut command = match setup.disk {
            None => Command::new(WHETSTONE),
            Some(size) => {
                let mut command = Command::new("unshare");
                std::fs::create_dir_all(&setup.store).unwrap();
                let script =
                    format!("mount -t tmpfs -o size={size}k tmpfs {} && exec \"$0\" \"$@\"", setup.store.display());
                command.args(["-rm", "sh", "-c", &script, WHETSTONE]);
                command
            }
        };
        let log = File::options().create(true).append(true).open(&setup.log).unwrap();
        let child = command
            .args(arguments)
            .env("KUBECONFIG", &setup.kubeconfig)
            .env("RUST_LOG", "whetstone=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { setup: setup.clone(), child, listens }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The store as the operator sees it, on a disk of its own or not.
    pub(crate) fn store(&self) -> PathBuf {
        match self.setup.disk {
            None => self.setup.store.clone(),
            Some(_) => PathBuf::from(format!("/proc/{}/root{}", self.pid(), self.setup.store.display())),
        }
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn metrics(&self) -> Option<String> {
        get(self.listens, "/metrics")
    }

    /// Whether `/readyz` says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        get(self.listens, "/readyz").is_some_and(|body| body == "ok\n")
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal("TERM", self.pid());
            eventually("the operator ends", Duration::from_secs(30), || self.child.try_wait().unwrap());
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address where nothing listens yet.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The body of an answer, whatever its status; `None` when there is none.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// `whetstone simulate`, always at the same address. Killed when it is dropped.
pub(crate) struct Simulator {
    address: SocketAddr,
    world: PathBuf,
    child: Child,
    /// What those that were killed had answered.
    before: u64,
}

impl Simulator {
    pub(crate) fn start(world: &Path) -> Self {
        let address = free_address();
        Self { address, world: world.to_owned(), child: Self::spawn(world, address), before: 0 }
    }

    fn spawn(world: &Path, address: SocketAddr) -> Child {
        let mut child = Command::new(WHETSTONE)
            .args(["simulate", "--world", world.to_str().unwrap(), "--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on"), "the simulator says {line:?}");
        child
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many calls were answered in full, by this one and those before.
    pub(crate) fn answered(&self) -> u64 {
        let stats: Value = serde_json::from_str(&get(self.address, "/stats").unwrap()).unwrap();
        let now: u64 = stats["answered"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        self.before + now
    }

    /// `kill -9`. What is on the way is lost; nobody may be connected any more.
    pub(crate) fn kill(&mut self) {
        self.before = self.answered();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again.
    pub(crate) fn again(&mut self) {
        self.child = Self::spawn(&self.world, self.address);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A wire to a server: passes on what it gets, knows when it last passed on something, and can be cut.
pub(crate) struct Wire {
    listens: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    is_cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    /// When something was sent to the server.
    sent: Mutex<Vec<Instant>>,
}

impl Wire {
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            is_cut: AtomicBool::new(false),
            connections: Mutex::default(),
            sent: Mutex::default(),
        });
        let serving = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (Ok(connection), Some(shared)) = (connection, serving.upgrade()) else { return };
                shared.serve(connection);
            }
        });
        Self { listens, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listens
    }

    /// When something was last sent to the server.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.shared.sent.lock().unwrap().last().copied()
    }

    /// When something was first sent to the server after a point in time.
    pub(crate) fn sent_after(&self, since: Instant) -> Option<Instant> {
        let sent = self.shared.sent.lock().unwrap();
        sent.get(sent.partition_point(|at| *at <= since)).copied()
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.break_off();
    }

    /// Breaks every connection; new ones are taken.
    pub(crate) fn break_off(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.listens);
    }
}

impl Shared {
    fn serve(self: Arc<Self>, client: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.to) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_reads, server_reads) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        {
            let mut connections = self.connections.lock().unwrap();
            connections.push(client.try_clone().unwrap());
            connections.push(server.try_clone().unwrap());
        }
        let shared = Arc::clone(&self);
        std::thread::spawn(move || pass(client_reads, server, || shared.note()));
        std::thread::spawn(move || pass(server_reads, client, || {}));
    }

    fn note(&self) {
        let mut sent = self.sent.lock().unwrap();
        sent.push(Instant::now());
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, note: impl Fn()) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        note();
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
