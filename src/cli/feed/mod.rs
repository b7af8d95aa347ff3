//! `guideway feed`: the reference feed.

mod show;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::source::grpc::peer::Served;
use crate::source::grpc::{Board, Serve, ServerFiles, plain_is_allowed, serve};
use crate::source::yaml::ConfigError;
use crate::source::yaml::watch::{DEBOUNCE, FileWatch};
use show::Shower;
use state::State;

/// Feeds of services to balancers.
#[derive(clap::Args, Debug)]
pub struct FeedArgs {
    #[command(subcommand)]
    command: FeedCommand,
}

#[derive(clap::Subcommand, Debug)]
enum FeedCommand {
    Serve(ServeArgs),
}

/// Give the services of a file to any number of balancers, and show how they do. On a terminal as a
/// table, elsewhere as a line of JSON for each thing that happens.
#[derive(clap::Args, Debug)]
pub struct ServeArgs {
    /// The services: a file, or a folder of files, each with `version: 1` and `services`. Read again
    /// when it changes.
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    /// Where balancers connect to.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// Our certificate, in PEM. Files are read again for each connection.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authorities of the balancers' certificates: one is asked for, and has to have the balancer's
    /// name among its DNS names.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// The token that balancers have to send.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// No TLS, though not only this machine can connect.
    #[arg(long, conflicts_with = "tls_cert")]
    pub plaintext: bool,
    /// Have balancers take this state though they know a newer revision.
    #[arg(long)]
    pub force: bool,
    /// What to log.
    #[arg(long, value_name = "FILTER", env = "GUIDEWAY_LOG", default_value = "warn")]
    pub log: String,
}

/// Runs a command.
pub fn run(args: &FeedArgs) -> ExitCode {
    let FeedCommand::Serve(args) = &args.command;
    super::log::begin(&args.log, super::log::LogFormat::Auto);
    match serve_until_signal(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guideway feed serve: {error:#}");
            let is_refused = error.is::<ConfigError>();
            ExitCode::from(if is_refused { 2 } else { 1 })
        }
    }
}

fn serve_until_signal(args: &ServeArgs) -> anyhow::Result<()> {
    let cert_and_key = args.tls_cert.clone().zip(args.tls_key.clone());
    if cert_and_key.is_none() && !plain_is_allowed(args.listen, args.plaintext) {
        bail!(
            "everybody on the way could read and change what is sent: wanted are `--tls-cert` and \
             `--tls-key`, a loopback address, or `--plaintext`"
        );
    }
    let files = ServerFiles { cert_and_key, client_ca: args.client_ca.clone() };
    files.check()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("the tokio runtime")?.block_on(async {
        // Before the file is read, so that no change is missed.
        let changes = FileWatch::new(&args.file, DEBOUNCE);
        let (state, served) = State::open(&args.file, args.force)?;
        let listener = TcpListener::bind(args.listen).await;
        let listener =
            listener.with_context(|| format!("{} cannot be listened on", args.listen))?;
        let shower = Arc::new(Shower::new());
        shower.serving(listener.local_addr()?, &served);
        let board = {
            let shower = shower.clone();
            Arc::new(Board::new(Box::new(move |event, view| shower.happened(event, view))))
        };
        let (sender, receiver) = watch::channel(Arc::new(served));
        let following = follow_file(changes, state, sender, shower.clone());
        let token_file = args.token_file.clone();
        let parts = Serve { listener, files, token_file, served: receiver, board: board.clone() };
        tokio::select! {
            ended = serve(parts) => ended.context("the server"),
            () = following => Ok(()),
            () = shower.redraw(&board) => Ok(()),
            () = signalled() => Ok(()),
        }
    })
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}

/// Reads the file again whenever it changes; one that is refused changes nothing.
async fn follow_file(
    mut changes: FileWatch,
    mut state: State,
    served: watch::Sender<Arc<Served>>,
    shower: Arc<Shower>,
) {
    loop {
        changes.changed().await;
        // Borrowed no longer than this line: sending waits for whoever borrows.
        let before = served.borrow().clone();
        match state.read_again(&before) {
            Ok(Some(new)) => {
                shower.changed(&new);
                served.send_replace(Arc::new(new));
            }
            Ok(None) => {}
            Err(error) => shower.refused(&error),
        }
    }
}
