//! The program: arguments, logging, exit code. 0: ended as asked; 1: failed; 2: wrong usage.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use standpipe::config::{Config, Origin};
use standpipe::error::{Error, Kind, Result};
use standpipe::server::{self, Given};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for wrong usage: arguments, settings, an address that is not allowed.
const USAGE: u8 = 2;

/// One binary in which SQL moves data.
#[derive(Debug, Parser)]
#[command(name = "standpipe", version, about, after_help = "Every setting can be given as --set name=value, as STANDPIPE_NAME in the environment, or in the configuration file; SHOW ALL lists them.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves clients.
    Serve(Settings),
    /// Serves with a generator source and a running pipe, in a directory of its own.
    Demo(Settings),
    /// Verifies the data directory offline; changes nothing.
    Check(Settings),
}

#[derive(Debug, Args)]
struct Settings {
    /// Directory of the catalog, the lake and the stage.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address for clients; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the dashboard and /metrics; empty: none.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.trim().to_string(), value.to_string())).ok_or_else(|| "expected NAME=VALUE".to_string())
}

impl Settings {
    fn configuration(self) -> Result<Config> {
        let mut settings = self.settings;
        let data = self.data.map(|d| d.to_string_lossy().into_owned());
        settings.extend([("data", data), ("listen", self.listen), ("http", self.http)].into_iter().filter_map(|(n, v)| Some((n.to_string(), v?))));
        let environment = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
        server::configuration(&Given { file: self.config, settings }, environment)
    }
}

/// Stack of a worker thread: a parsed expression of the greatest depth that the grammar takes is dropped and compared recursively.
const WORKER_STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let (command, settings) = match Arguments::parse().command {
        Command::Serve(s) => ("serve", s),
        Command::Demo(s) => ("demo", s),
        Command::Check(s) => ("check", s),
    };
    match run(command, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("standpipe: {}", e.message());
            for line in e.detail().into_iter().flat_map(str::lines) {
                eprintln!("DETAIL: {line}");
            }
            if let Some(hint) = e.hint() {
                eprintln!("HINT: {hint}");
            }
            match e.kind() {
                Kind::BadOption | Kind::UndefinedObject | Kind::CantChange => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: &str, settings: Settings) -> Result<()> {
    let mut config = settings.configuration()?;
    if command == "demo" {
        let own = [("data", standpipe::demo::DIRECTORY), ("log.level", "warn")];
        for (name, value) in own {
            if config.get(name).1 == Origin::Default {
                config.set(name, value, Origin::CommandLine)?;
            }
        }
    }
    log(&config)?;
    small_pages();
    if !config.flag("core-dumps") {
        no_core_dumps();
    }
    // two providers may be linked; without a choice the first use of TLS panics. An error means that one is chosen already
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(WORKER_STACK).build()?;
    let outcome = runtime.block_on(async {
        match command {
            "demo" => server::demo(config).await,
            "check" => server::check(config).await,
            _ => server::serve(config).await,
        }
    });
    // What still runs at the end must not hold the process for long. Threads that end meanwhile are joined: letting go of one while it ends, as
    // shutdown_background does, can touch its memory after it is gone (glibc bug 19951), and then the process ends by a signal.
    runtime.shutdown_timeout(AT_EXIT);
    outcome
}

/// How long the process's end waits for what runs on its threads.
const AT_EXIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Transparent huge pages are off for this process (prctl(2), PR_SET_THP_DISABLE). The allocator asks for them, and the system may give them unasked:
/// then a few kilobytes that live in each two megabytes hold all of it, 340 MB after a minute of the lake's work in the background where 90 were enough.
fn small_pages() {
    #[expect(unsafe_code, reason = "libc's functions are; this one takes numbers only")]
    let done = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if done != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "transparent huge pages could not be turned off");
    }
}

/// The file with which Linux is told what of a process's memory a core dump holds (core(5)).
const CORE_DUMP_FILTER: &str = "/proc/self/coredump_filter";

/// A core dump of this process holds no memory, whoever takes it: passwords of sources are in it while they are used.
fn no_core_dumps() {
    if let Err(e) = std::fs::write(CORE_DUMP_FILTER, "0") {
        tracing::warn!(error = %e, "core dumps could not be emptied; they may hold passwords");
    }
}

/// Log lines go to stderr, as text or JSON.
fn log(config: &Config) -> Result<()> {
    use tracing_subscriber::EnvFilter;
    let level = config.text("log.level");
    let bad = |e: tracing_subscriber::filter::ParseError| Error::new(Kind::BadOption, format!("invalid value for parameter \"log.level\": \"{level}\"")).with_detail(e.to_string());
    // a bare level is about ourselves; libraries speak up from warnings on, but for one that logs, three times, each error it returns to us
    let bare = level.chars().all(|c| c.is_ascii_alphabetic());
    let filter = if bare { format!("warn,buoyant_kernel=off,standpipe={level},standpipe_catalog={level}") } else { level.to_string() };
    let filter = EnvFilter::builder().parse(filter).map_err(bad)?;
    // a line that can't be written (the log's disk is full) is dropped: complaining about it on the same stderr would panic in whatever task logs
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if config.text("log.format") == "json" {
        lines.json().init();
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    Ok(())
}
