//! Balancers that end TCP and begin it anew, and the servers behind all of them.

use std::fmt::Write;

use anyhow::Result;

use super::contender::Running;
use super::cpu::threads_named;
use super::lab::{BACKEND_COUNT, BACKENDS, BALANCER, CLIENT, Lab, VIP, backend, command, shell_in};
use super::process::{Process, wait_for};

/// The VIP on the balancer's loopback, as a proxy listens there; removed when dropped.
struct LocalVip;

impl LocalVip {
    fn add() -> Result<LocalVip> {
        shell_in(BALANCER, &format!("ip address add {VIP}/32 dev lo"))?;
        Ok(LocalVip)
    }
}

impl Drop for LocalVip {
    fn drop(&mut self) {
        let _ = shell_in(BALANCER, &format!("ip address del {VIP}/32 dev lo"));
    }
}

/// One thread, TCP mode, a new flow to the next backend.
pub fn haproxy(lab: &Lab, core: usize) -> Result<Running> {
    let mut text = format!(
        "global\n nbthread 1\n maxconn 8000\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen lb\n bind {VIP}:80 backlog 8192\n"
    );
    for number in 1..=BACKEND_COUNT {
        let _ = writeln!(text, " server b{number} {}:8080", backend(number));
    }
    let config = lab.write("haproxy.cfg", &text)?;
    start(lab, core, "haproxy", &["-db", "-f", &config.display().to_string()])
}

/// One worker process.
pub fn nginx(lab: &Lab, core: usize) -> Result<Running> {
    let mut text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
         daemon off; master_process off; pid {0}/lb.pid; error_log {0}/lb.error;
         events {{ worker_connections 8000; }}
         stream {{
             server {{ listen {VIP}:80 backlog=8192; proxy_pass backends; }}
             upstream backends {{\n",
        lab.path("").display()
    );
    for number in 1..=BACKEND_COUNT {
        let _ = writeln!(text, "server {}:8080;", backend(number));
    }
    text += "} }\n";
    let config = lab.write("nginx-lb.conf", &text)?;
    start(lab, core, "nginx", &["-c", &config.display().to_string()])
}

fn start(lab: &Lab, core: usize, program: &str, options: &[&str]) -> Result<Running> {
    let vip = LocalVip::add()?;
    let mut proxy = command(BALANCER, "taskset");
    proxy.args(["-c", &core.to_string(), program]).args(options);
    let mut process = Process::start(proxy, &lab.path(&format!("{program}.log")))?;
    until_answered(&mut process)?;
    Ok(Running::new(threads_named(process.id(), ""), (process, vip)))
}

/// The servers: nginx on every core, on every backend's address and, for direct server return, on
/// the VIP.
pub fn servers(lab: &Lab) -> Result<Process> {
    let place = lab.path("").display().to_string();
    let text = format!(
        "user root; daemon off; worker_processes auto; pid {place}/pid; error_log {place}/error;
         worker_priority -15;
         events {{ worker_connections 8000; }}
         http {{
             access_log off; keepalive_requests 1000000000; keepalive_timeout 60;
             client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
             fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi;
             scgi_temp_path {place}/scgi;
             server {{
                 listen 8080 backlog=8192 reuseport; listen 80 backlog=8192 reuseport;
                 location / {{ return 200 'guideway\\n'; }}
             }}
         }}"
    );
    let config = lab.write("nginx.conf", &text)?;
    let mut nginx = command(BACKENDS, "nginx");
    nginx.arg("-c").arg(config).args(["-e", &format!("{place}/error")]);
    let mut process = Process::start(nginx, &lab.path("nginx.log"))?;
    wait_for("the servers", || {
        process.check()?;
        Ok(shell_in(BACKENDS, "curl -sf -m 1 -o /dev/null http://10.2.2.1:8080/").ok())
    })?;
    Ok(process)
}

/// Waits until the VIP answers.
pub fn until_answered(process: &mut Process) -> Result<()> {
    wait_for("an answer from the VIP", || {
        process.check()?;
        Ok(answers().then_some(()))
    })
}

/// Does the VIP answer the client?
pub fn answers() -> bool {
    shell_in(CLIENT, &format!("curl -sf -m 1 -o /dev/null http://{VIP}/")).is_ok()
}
