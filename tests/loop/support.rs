//! What the tests of the loop share: a shop to optimise, the program as a process, a simulated world as another, and what a store
//! holds afterwards.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde_json::Value;
use tempfile::TempDir;
use whetstone::store::{Sqlite, Store as _};

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_mins(2);

/// A folder with an agent to optimise, a world for it, and room for a store and for reports.
pub(crate) struct Shop {
    dir: TempDir,
}

impl Shop {
    /// The shop of `tests/fixtures/shop`: 40 scenarios, four rules that its prompt does not teach, and a patch writer that
    /// knows them.
    pub(crate) fn new() -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop");
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        for entry in std::fs::read_dir(fixtures).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, shop.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        shop
    }

    /// The same, after edits of its files.
    pub(crate) fn with(edits: &[(&str, &str, &str)]) -> Self {
        let shop = Self::new();
        for (file, from, to) in edits {
            shop.edit(file, from, to);
        }
        shop
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// Replaces the one place in a file that reads `from`.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand in {file} once");
        self.write(file, &text.replace(from, to));
    }

    /// Puts models of the resource behind a URL. The worker speaks the OpenAI API, the judge that of Anthropic.
    pub(crate) fn send_models_to(&self, origin: &str) {
        self.send_worker_to(origin);
        self.send_judge_to(origin);
    }

    pub(crate) fn send_worker_to(&self, origin: &str) {
        self.edit("optimization.yaml", "openAI: {", &format!("openAI: {{baseURL: {origin}/v1, "));
    }

    pub(crate) fn send_judge_to(&self, origin: &str) {
        self.edit("optimization.yaml", "anthropic: {", &format!("anthropic: {{baseURL: {origin}, "));
    }

    /// Keeps the first scenarios only.
    pub(crate) fn keep_scenarios(&self, count: usize) {
        let kept: String = self.read("scenarios.jsonl").split_inclusive('\n').take(count).collect();
        self.write("scenarios.jsonl", &kept);
    }

    /// The program, in this folder, without keys and settings of whoever runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
        command.args(arguments).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn whetstone(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(arguments)).wait()
    }

    /// `whetstone run` in the simulated world, with the store `store.db` and the report in `out`.
    pub(crate) fn run(&self) -> Ended {
        self.run_with(&[])
    }

    /// [`run`](Self::run) with further arguments.
    pub(crate) fn run_with(&self, more: &[&str]) -> Ended {
        self.whetstone(&[&RUN[..], &["--simulate", "world.yaml"], more].concat())
    }

    /// `whetstone run` against the models where the resource says they are.
    pub(crate) fn run_for_real(&self) -> Ended {
        self.whetstone(&RUN)
    }

    /// `whetstone validate`, which must refuse: what it says.
    pub(crate) fn refusal(&self) -> String {
        let ended = self.whetstone(&["validate", "-f", "optimization.yaml"]);
        assert_eq!(ended.code, Some(2), "{ended}");
        let run = self.run();
        assert_eq!((run.code, &run.stderr), (Some(2), &ended.stderr), "`run` and `validate` say the same");
        assert!(!self.path("store.db").exists(), "nothing may be begun with a resource that is refused");
        ended.stderr
    }

    /// The report of the last run.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.read("out/report.json")).unwrap()
    }

    /// How long each call in the ledger took.
    pub(crate) fn latencies(&self) -> Vec<Duration> {
        block_on(async {
            let store = Sqlite::open(&self.path("store.db")).await.unwrap();
            let cycles = store.cycles(None, 10).await.unwrap();
            let mut latencies = Vec::new();
            for cycle in cycles {
                latencies.extend(store.calls(cycle.cycle).await.unwrap().iter().map(|call| call.latency));
            }
            store.close().await.unwrap();
            latencies
        })
    }

    /// What the ledger holds.
    pub(crate) fn ledger(&self) -> LedgerSums {
        LedgerSums::read(&self.path("store.db"))
    }
}

/// `run` with everything but the models.
pub(crate) const RUN: [&str; 7] = ["run", "-f", "optimization.yaml", "--store", "store.db", "--out", "out"];

/// What the ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LedgerSums {
    pub calls: u64,
    pub cost: Decimal,
}

impl LedgerSums {
    pub(crate) fn read(path: &Path) -> Self {
        let totals = block_on(async {
            let store = Sqlite::open(path).await.unwrap();
            let totals = store.totals(None).await.unwrap();
            store.close().await.unwrap();
            totals
        });
        Self {
            calls: totals.iter().map(|total| total.calls).sum(),
            cost: totals.iter().map(|total| total.cost.amount()).sum(),
        }
    }
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?} after {:?}\n{}\n{}", self.code, self.took, self.stdout, self.stderr)
    }
}

impl Ended {
    /// Asserts the exit code, and that standard error says all of these.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said:\n{self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }
}

/// The program under way. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, |mut stdout| {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        })
    }

    /// Starts it, and reads nothing of what it writes to standard output.
    pub(crate) fn start_deaf(command: Command) -> Self {
        Self::start_with(command, |stdout| {
            drop(stdout);
            String::new()
        })
    }

    fn start_with(mut command: Command, read: impl FnOnce(ChildStdout) -> String + Send + 'static) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Both are read on the side: a full pipe would stop the program.
        let stdout = std::thread::spawn(move || read(stdout));
        let said = Arc::new(Mutex::new(String::new()));
        let saying = Arc::clone(&said);
        let stderr = std::thread::spawn(move || {
            for line in stderr.lines() {
                let mut said = saying.lock().unwrap();
                said.push_str(&line.unwrap());
                said.push('\n');
            }
        });
        Self { child, began: Instant::now(), stdout: Some(stdout), stderr: Some(stderr), said }
    }

    /// Waits until standard error says something.
    pub(crate) fn said(&self, words: &str) {
        eventually(words, || self.said.lock().unwrap().contains(words).then_some(()));
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let began = self.began;
        let status = self.wait_until(began + DEADLINE).unwrap_or_else(|| panic!("it hangs: {:?}", self.child));
        self.ended(status)
    }

    /// Waits for its end, but not beyond a point in time.
    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        poll(deadline, || self.child.try_wait().unwrap())
    }

    /// Waits for its end for so long, then kills it (`kill -9`).
    pub(crate) fn wait_or_kill(mut self, patience: Duration) -> Ended {
        if let Some(status) = self.wait_until(Instant::now() + patience) {
            return self.ended(status);
        }
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        self.ended(status)
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        let took = self.began.elapsed();
        let stdout = self.stdout.take().expect("a process ends once").join().unwrap();
        self.stderr.take().expect("a process ends once").join().unwrap();
        let stderr = self.said.lock().unwrap().clone();
        Ended { code: status.code(), stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `whetstone simulate` as a process of its own. Killed when it is dropped.
pub(crate) struct Simulator {
    child: Child,
    address: SocketAddr,
}

impl Simulator {
    /// Serves the world of a shop on a free port.
    pub(crate) fn start(shop: &Shop) -> Self {
        let mut command = shop.command(&["simulate", "--world", "world.yaml", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/v1"));
        let address = address.unwrap_or_else(|| panic!("it says {line:?}")).parse().unwrap();
        Self { child, address }
    }

    /// `http://ADDRESS`, without `/v1`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its own count of what it did: `GET /stats`.
    pub(crate) fn stats(&self) -> Value {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        connection.write_all(b"GET /stats HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        serde_json::from_str(body).unwrap()
    }

    /// How many calls it has answered in full.
    pub(crate) fn answered(&self) -> u64 {
        let answered = &self.stats()["answered"];
        answered.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    }

    /// How many requests a kind of fault has struck.
    pub(crate) fn faults(&self, kind: &str) -> u64 {
        self.stats()["faults"][kind].as_u64().unwrap()
    }

    /// How many requests it has seen, whatever became of them.
    pub(crate) fn requests(&self) -> u64 {
        let stats = self.stats();
        let faults = stats["faults"].as_object().unwrap();
        // Prose and late answers are answers as well.
        let faults: u64 = faults
            .iter()
            .filter(|(kind, _)| !matches!(kind.as_str(), "prose" | "stalled"))
            .map(|(_, count)| count.as_u64().unwrap())
            .sum();
        self.answered() + faults + stats["refused"].as_u64().unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something asynchronous.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// An origin where nothing listens.
pub(crate) fn closed_origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Waits until there is something.
pub(crate) fn eventually<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    poll(Instant::now() + DEADLINE, found).unwrap_or_else(|| panic!("{what} never happened"))
}

fn poll<T>(deadline: Instant, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = found() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What must be the same however a cycle came to its end: verdict and reasons, prompts and their scores, gate, clusters
/// and attempts.
pub(crate) fn decision(report: &Value) -> Value {
    let mut decision = report.clone();
    for bookkeeping in ["calls", "cost", "seconds", "cycle"] {
        decision.as_object_mut().unwrap().remove(bookkeeping).unwrap();
    }
    decision
}
