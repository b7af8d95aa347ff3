//! Real servers and clients: nginx, and the test peer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use super::network::{Namespace, Site};
use super::process::{self, Process};
use super::wait_until;

/// Where the test peer was built. `cargo test` builds it; `cargo test --test netns` alone does not.
pub fn testpeer() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_guideway"));
    let peer = binary.with_file_name("examples").join("testpeer");
    let built = std::fs::metadata(&peer).and_then(|peer| peer.modified());
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer")).unwrap();
    let changed = sources.map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap());
    assert!(
        built.is_ok_and(|built| changed.max().is_some_and(|changed| changed <= built)),
        "{} is missing or old: cargo build --example testpeer",
        peer.display()
    );
    peer
}

/// Starts the test peer's servers: `options` as on its command line, without the name.
pub fn serve(namespace: &Namespace, name: &str, options: &str) -> Process {
    let peer = testpeer();
    let line = format!("{} serve --name {name} {options}", peer.display());
    let mut process = namespace.start(&line, &format!("serve-{name}.log"));
    process.wait_for_output("READY");
    process
}

/// Starts one on each backend, named `b1`, `b2`, …
pub fn serve_all(site: &Site, options: &str) -> Vec<Process> {
    let named = (1..).zip(&site.backends);
    named.map(|(number, backend)| serve(backend, &format!("b{number}"), options)).collect()
}

fn report(namespace: &Namespace, options: &str) -> Value {
    let output = namespace.run(&format!("exec {} {options}", testpeer().display()));
    last_line(&output)
}

/// A report is the last line of a peer's output.
fn last_line(output: &str) -> Value {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Many short connections; the peer's report.
pub fn storm(client: &Namespace, options: &str) -> Value {
    report(client, &format!("storm {options}"))
}

/// One transfer with every byte compared; the peer's report.
pub fn transfer(client: &Namespace, options: &str) -> Value {
    report(client, &format!("transfer {options}"))
}

/// UDP questions; the peer's report.
pub fn udp(client: &Namespace, options: &str) -> Value {
    report(client, &format!("udp {options}"))
}

/// UDP questions in fragments of an order of their own; the peer's report.
pub fn fragments(client: &Namespace, options: &str) -> Value {
    report(client, &format!("fragments {options}"))
}

/// One transfer in the background.
pub struct Download(Process);

impl Download {
    /// Starts it: `options` as for [`transfer`].
    pub fn start(client: &Namespace, log: &str, options: &str) -> Download {
        Download(client.start(&format!("{} transfer {options}", testpeer().display()), log))
    }

    /// Waits for its end; the peer's report.
    pub fn finish(mut self, limit: Duration) -> Value {
        self.0.wait(limit);
        last_line(&self.0.output())
    }
}

/// Connections kept open in the background.
pub struct Hold(Process);

impl Hold {
    /// Opens them and waits until all are open.
    pub fn open(client: &Namespace, log: &str, options: &str) -> Hold {
        let line = format!("{} hold {options}", testpeer().display());
        let mut process = client.start(&line, log);
        process.wait_for_output("READY");
        Hold(process)
    }

    /// Asks all of them a last time; the peer's report.
    pub fn close(mut self) -> Value {
        self.0.close_input();
        self.0.wait(Duration::from_secs(30));
        last_line(&self.0.output())
    }
}

/// An nginx that answers every request with its name, and closes first.
pub struct Nginx(Process);

impl Nginx {
    /// Starts it on `listen` (an address and port, or a port), and waits until it answers.
    pub fn start(lab: &Lab, namespace: &Namespace, name: &str, listen: &str) -> Nginx {
        Nginx::start_with(lab, namespace, name, listen, "")
    }

    /// The same with more inside of its `http { … }`.
    pub fn start_with(
        lab: &Lab,
        namespace: &Namespace,
        name: &str,
        listen: &str,
        more: &str,
    ) -> Nginx {
        let directory = lab.path(&format!("nginx-{name}-{listen}"));
        std::fs::create_dir_all(&directory).unwrap();
        let place = directory.display();
        let configuration = format!(
            "user root; worker_processes 1; daemon off; pid {place}/pid; error_log {place}/error.log;
             events {{ worker_connections 4096; }}
             http {{
                 access_log off; keepalive_timeout 0;
                 client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
                 fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi;
                 scgi_temp_path {place}/scgi;
                 server {{
                     listen {listen} backlog=4096;
                     location / {{ return 200 '{name}\\n'; }}
                     location /files/ {{ root {place}; }}
                 }}
                 {more}
             }}"
        );
        let path = directory.join("nginx.conf");
        std::fs::write(&path, configuration).unwrap();
        let nginx = format!("nginx -e {place}/error.log -c {}", path.display());
        let process = namespace.start(&nginx, &format!("nginx-{name}.log"));
        let address =
            if listen.contains(':') { listen.to_owned() } else { format!("127.0.0.1:{listen}") };
        wait_until(&format!("nginx {name} to answer on {address}"), || {
            namespace.succeeds(&format!("curl -sf -m 1 -o /dev/null http://{address}/"))
        });
        Nginx(process)
    }

    /// Stops it as an operator would; its listening socket is closed at once.
    pub fn stop(mut self) {
        self.0.signal("TERM");
        self.0.wait(Duration::from_secs(10));
    }
}

/// One HTTP request; the answer's text, or what curl said.
pub fn get(client: &Namespace, url: &str) -> Result<String, String> {
    let output = client.try_run(&format!("curl -sS -m 5 {url}"));
    let told = process::told(&output).trim().to_owned();
    if output.status.success() { Ok(told) } else { Err(told) }
}
