//! An operator as a node runs it: with a limit on its memory, probed each second, and started again when it is killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::cluster::Cluster;
use super::super::faults::processes::free_address;

/// The limit of the chart.
pub(super) const LIMIT: u64 = 1 << 30;
/// How long the kubelet waits for a probe, unless told otherwise.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What was seen of the operator.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The most memory that the process had at once, in bytes.
    pub peak: u64,
    /// What it had when it was looked at last.
    pub now: u64,
    /// How often it had to be started again.
    pub restarts: u32,
    /// Probes, and those that failed with why.
    pub probes: u64,
    pub failed: Vec<String>,
    pub slowest: Duration,
    /// The most cycles under way and waiting at once.
    pub running: f64,
    pub queued: f64,
}

/// The operator, and who looks after it.
pub(super) struct Confined {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
    group: Option<PathBuf>,
}

impl Confined {
    /// Starts it over these namespaces, of which the first has the Lease.
    pub(super) fn start(binary: &Path, namespaces: &[&str], folder: &Path) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let group = memory_group();
        let listens = free_address();
        let mut arguments = vec!["operator".to_owned()];
        for namespace in namespaces {
            arguments.extend(["--namespace".to_owned(), (*namespace).to_owned()]);
        }
        let store = folder.join("store");
        for (name, value) in [
            ("--lease-namespace", namespaces[0]),
            ("--store", store.to_str().unwrap()),
            ("--allow-endpoint", "127.0.0.1"),
            ("--listen", &listens.to_string()),
        ] {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        let run = Run { binary: binary.to_owned(), arguments, log: folder.join("operator.log"), group: group.clone() };
        let keeper = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || keep(&run, listens, &seen, &stop))
        };
        Self { seen, stop, keeper: Some(keeper), group }
    }

    /// What was seen since the last time, but for the peak and the restarts, which are of all its life.
    pub(super) fn seen(&self) -> Seen {
        let mut seen = self.seen.lock().unwrap();
        let now = seen.clone();
        *seen = Seen { peak: now.peak, restarts: now.restarts, ..Seen::default() };
        now
    }

    /// How the limit is kept.
    pub(super) fn limited_by(&self) -> &'static str {
        if self.group.is_some() { "a control group" } else { "sampling" }
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            keeper.join().unwrap();
        }
        self.seen()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        if let Some(group) = &self.group {
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// A control group with the limit, where this machine lets us have one.
fn memory_group() -> Option<PathBuf> {
    let ours = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |line: &str| Some(line.split_once(":memory:")?.1.trim().to_owned());
    let (root, limit, own) = match ours.lines().find_map(of) {
        Some(own) => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", own),
        None => ("/sys/fs/cgroup", "memory.max", ours.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()),
    };
    let name = format!("whetstone-hostile-{}", std::process::id());
    let folder = Path::new(root).join(own.trim_start_matches('/')).join(name);
    std::fs::create_dir(&folder).ok()?;
    if std::fs::write(folder.join(limit), LIMIT.to_string()).is_err() {
        let _ = std::fs::remove_dir(&folder);
        return None;
    }
    Some(folder)
}

struct Run {
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    group: Option<PathBuf>,
}

impl Run {
    fn start(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        // The shell joins the group before it becomes the operator.
        let join = self
            .group
            .as_ref()
            .map_or_else(String::new, |group| format!("echo $$ > {} && ", group.join("cgroup.procs").display()));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{join}exec \"$0\" \"$@\"")]).arg(&self.binary).args(&self.arguments);
        command.env("KUBECONFIG", Cluster::shared().kubeconfig()).env("RUST_LOG", "whetstone=info,warn");
        // As the chart has it.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

/// Starts the operator, again as often as it ends, and probes it each second, until it is to stop.
fn keep(run: &Run, listens: SocketAddr, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let mut child = run.start();
    let mut is_up = false;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        if let Some(status) = child.try_wait().unwrap() {
            let mut seen = seen.lock().unwrap();
            seen.restarts += 1;
            seen.failed.push(format!("it ended: {status}"));
            drop(seen);
            child = run.start();
            is_up = false;
        }
        if is_up {
            for path in ["/healthz", "/readyz"] {
                let asked = Instant::now();
                let answer = probe(listens, path);
                let mut seen = seen.lock().unwrap();
                seen.probes += 1;
                seen.slowest = seen.slowest.max(asked.elapsed());
                if let Err(why) = answer {
                    seen.failed.push(format!("{path}: {why}"));
                }
            }
            let metrics = ask(listens, "/metrics", Duration::from_secs(5)).unwrap_or_default();
            let gauge = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                line.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
            };
            let memory = memory(child.id());
            let mut seen = seen.lock().unwrap();
            seen.running = seen.running.max(gauge("whetstone_cycles_running"));
            seen.queued = seen.queued.max(gauge("whetstone_cycles_queued"));
            seen.peak = seen.peak.max(memory.get("VmHWM").copied().unwrap_or(0));
            seen.now = memory.get("VmRSS").copied().unwrap_or(0);
        } else {
            // Before its first answer it is starting.
            is_up = probe(listens, "/readyz").is_ok();
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let deadline = Instant::now() + Duration::from_secs(40);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a process has of memory, in bytes, by the names of `/proc/PID/status`.
fn memory(pid: u32) -> BTreeMap<String, u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
        Some((name.to_owned(), kib * 1024))
    };
    status.lines().filter_map(line).collect()
}

fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    let asked = Instant::now();
    let answer = ask(address, path, PROBE_TIMEOUT).map_err(|error| error.to_string())?;
    let status = answer.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(status.to_owned());
    }
    if asked.elapsed() > PROBE_TIMEOUT { Err(format!("after {:?}", asked.elapsed())) } else { Ok(()) }
}

fn ask(address: SocketAddr, path: &str, patience: Duration) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
