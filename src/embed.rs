//! Reading files and starting cycles, shared by the command line and programs that embed the loop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::api::Submission;
use crate::api::problem::{Problem, Problems};
use crate::api::resolve::{ConfigMap, Reference, References, Text, left_to_the_operator, resolve};
use crate::simulator::{Server, world::World};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::plan::Plan;
use whetstone_domain::transcript::Transcript;
use whetstone_engine::ports::Clock;

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where the clock comes from")]
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Reads a resource file and everything it refers to. `manifests` is a directory with the ConfigMaps that it refers to, unless
/// they are in the same file.
///
/// # Errors
/// [`Problems`], each with its place and remedy; or a file that could not be read.
pub fn read_plan(file: impl AsRef<Path>, manifests: Option<&Path>) -> anyhow::Result<Plan> {
    let file = file.as_ref();
    let submission = read_submission(file)?;
    let mut problems = Vec::new();
    let manifests = match manifests {
        Some(dir) => read_manifests(dir, &mut problems)?,
        None => Vec::new(),
    };
    if !problems.is_empty() {
        return Err(Problems::sorted(problems).into());
    }
    let base = file.parent().unwrap_or(Path::new("."));
    let references = References::gather(&submission, &manifests, |reference| read_reference(base, reference));
    let mut plan = resolve(&submission, &references)?;
    plan.warnings.extend(left_to_the_operator(&submission.resource.spec));
    Ok(plan)
}

/// Starts a simulated world on a free loopback port and redirects all models of the plan to it, each with its own protocol. The
/// ledger identifies its calls by the world file rather than by the port. The world stops when the returned server is dropped.
///
/// # Errors
/// The world file is invalid, or no port is available.
pub fn simulate(plan: &mut Plan, world: impl AsRef<Path>) -> anyhow::Result<Server> {
    let path = world.as_ref();
    let text = read_text_file(path)?;
    let world = World::parse_file(&path.display().to_string(), &text)?;
    let identity = format!("simulated:{}", ContentHash::of_bytes(text.as_bytes()).short());
    let server = Server::start(world, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .context("starting the simulated world on a loopback port")?;
    for model in plan.models.values_mut() {
        model.identity.endpoint.clone_from(&identity);
        model.redirect = Some(server.base_url());
        model.key = None;
    }
    Ok(server)
}

/// Reads a resource file; a pipeline file is converted.
///
/// # Errors
/// [`Problems`] if there is no usable resource, or the file could not be read.
pub fn read_submission(file: &Path) -> anyhow::Result<Submission> {
    let openai_base_url = std::env::var("OPENAI_BASE_URL").ok().filter(|url| !url.is_empty());
    let (name, text) = if file == Path::new("-") {
        ("stdin".to_owned(), std::io::read_to_string(std::io::stdin()).context("reading standard input")?)
    } else {
        (file.display().to_string(), read_text_file(file)?)
    };
    Ok(Submission::read(&name, &text, openai_base_url.as_deref())?)
}

/// Reads a text file.
///
/// # Errors
/// The file could not be read.
pub fn read_text_file(path: &Path) -> Result<String, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("reading {}: {error}", path.display());
        Problems(vec![Problem { place: None, field: String::new(), message }])
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads transcripts, one per line.
///
/// # Errors
/// A line is not a transcript, or the file could not be read.
pub fn read_transcripts(path: &Path) -> anyhow::Result<Vec<Transcript>> {
    let text = read_text_file(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: not a transcript", path.display(), index + 1))
        })
        .collect()
}

/// Reads the ConfigMaps in the manifests of a directory.
fn read_manifests(dir: &Path, problems: &mut Vec<Problem>) -> anyhow::Result<Vec<ConfigMap>> {
    let mut maps = Vec::new();
    let paths = files(dir).map_err(|error| {
        let message = format!("reading the manifests in {}: {error}", dir.display());
        Problems(vec![Problem { place: None, field: String::new(), message }])
    })?;
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            maps.extend(ConfigMap::read_all(&path.display().to_string(), &read_text_file(&path)?, problems));
        }
    }
    Ok(maps)
}

/// Reads a reference of a resource. ConfigMaps are only read from manifests.
fn read_reference(base: &Path, reference: &Reference) -> Result<Option<Vec<Text>>, String> {
    match reference {
        Reference::File(name) => read_text(&base.join(name)).map(|text| text.map(|text| vec![text])),
        Reference::Files(name) => {
            let path = base.join(name);
            if !path.is_dir() {
                return read_text(&path).map(|text| text.map(|text| vec![text]));
            }
            let mut texts = Vec::new();
            for file in files(&path).map_err(|error| format!("reading the directory {}: {error}", path.display()))? {
                if Reference::holds_scenarios(&file.to_string_lossy()) {
                    texts.extend(read_text(&file)?);
                }
            }
            Ok(Some(texts))
        }
        Reference::ConfigMapKey { .. } | Reference::ConfigMap { .. } | Reference::Champion { .. } => Ok(None),
    }
}

fn read_text(path: &Path) -> Result<Option<Text>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let name = path.strip_prefix(".").unwrap_or(path).display().to_string();
            Ok(Some(Text { name, text }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("reading {}: {error}", path.display())),
    }
}

/// All files in a directory and its subdirectories, sorted by path.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
