//! Real connections over loopback, with answers by the byte; and TLS by certificates made here.

use super::super::testing::{Certificates, http, kind, server, tls_server, told};
use super::*;
use crate::control::{HealthCheckKind, HealthCheckSpec, StatusSet, TlsCheck};
use std::time::Duration;
use tokio::net::TcpListener;

fn spec(check: HttpCheck) -> HealthCheckSpec {
    kind(HealthCheckKind::Http(check))
}

#[tokio::test]
async fn answers_by_row() {
    let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4 * ANSWER_BYTES]].concat();
    let rows: Vec<(&str, Vec<u8>, Result<(), &str>)> = vec![
        ("in the range", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Ok(())),
        ("the single one", b"HTTP/1.1 418 Teapot\r\n\r\n".to_vec(), Ok(())),
        (
            "outside",
            b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Err("status 503, wanted 200-399,418"),
        ),
        ("a body that never ends", long, Ok(())),
        (
            "a body shorter than announced",
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(),
            Ok(()),
        ),
        ("closed at once", vec![], Err("HTTP: connection closed before message completed")),
        ("not HTTP", b"220 mail ready\r\n".to_vec(), Err("HTTP: invalid HTTP version parsed")),
    ];
    for (description, answer, wanted) in rows {
        let (address, task) = server(answer, b"\r\n\r\n", Duration::ZERO).await;
        let status = StatusSet(vec![200..=399, 418..=418]);
        let check = HttpCheck { method: "OPTIONS".to_string(), status, ..http() };
        let got = told(address, &spec(check)).await;
        assert_eq!(got, wanted.map_err(String::from), "{description}");
        let request = task.await.unwrap();
        assert!(request.starts_with("OPTIONS /ready HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: example.org\r\n"), "{request}");
        assert!(request.contains("connection: close\r\n"), "{request}");
    }
}

#[tokio::test]
async fn bodies_by_row() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: ";
    let long = "x".repeat(2 * ANSWER_BYTES);
    let rows = [
        ("there", format!("{HEAD}12\r\n\r\nall is ready"), Ok(())),
        (
            "at the end of a long one",
            format!("{HEAD}{}\r\n\r\n{long}ready", long.len() + 5),
            Err("…"),
        ),
        ("not there", format!("{HEAD}3\r\n\r\nno!"), Err(r#"body "no!", wanted "ready""#)),
        (
            "in pieces",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n"
                .to_string(),
            Ok(()),
        ),
        ("cut off", format!("{HEAD}9\r\n\r\nno"), Err("HTTP: ")),
    ];
    for (description, answer, wanted) in rows {
        let (address, _task) = server(answer.into_bytes(), b"\r\n\r\n", Duration::ZERO).await;
        let check = HttpCheck { body: Some("ready".to_string()), ..http() };
        match (told(address, &spec(check)).await, wanted) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(wanted)) => assert!(got.contains(wanted), "{description}: {got}"),
            other => panic!("{description}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_silent_server_times_out_and_a_slow_body_does_not_matter() {
    let minute = Duration::from_secs(60);
    let mut impatient = HealthCheckSpec { timeout_ms: 50, ..spec(http()) };
    let (address, task) = server(vec![], b"\r\n\r\n", minute).await;
    assert_eq!(told(address, &impatient).await, Err("timed out after 50 ms".to_string()));
    task.abort();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec();
    let (address, task) = server(head.clone(), b"\r\n\r\n", minute).await;
    impatient.timeout_ms = 1000;
    assert_eq!(told(address, &impatient).await, Ok(()));
    task.abort();
    let (address, task) = server(head, b"\r\n\r\n", minute).await;
    let check = HttpCheck { body: Some("ready".to_string()), ..http() };
    let wanting = HealthCheckSpec { timeout_ms: 200, ..spec(check) };
    assert_eq!(told(address, &wanting).await, Err("timed out after 200 ms".to_string()));
    task.abort();
}

#[tokio::test]
async fn ipv6_backends_are_asked_like_others() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    let task = tokio::spawn(super::super::testing::answer_once(
        listener,
        answer,
        b"\r\n\r\n",
        Duration::ZERO,
    ));
    let check = HttpCheck { host: None, ..http() };
    assert_eq!(told(address, &spec(check)).await, Ok(()));
    let request = task.await.unwrap();
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
}

#[tokio::test]
async fn certificates_by_row() {
    let ours = Certificates::new(&["www.example.org", "127.0.0.1"]);
    let others = Certificates::new(&["other.example.org"]);
    let old = Certificates::expired("www.example.org");
    let good = |trusted: &Certificates, name: Option<&str>| TlsCheck {
        server_name: name.map(str::to_string),
        verify: true,
        ca_file: Some(trusted.file()),
    };
    let named = Some("www.example.org");
    let nobody = TlsCheck { server_name: None, verify: false, ca_file: None };
    let missing = TlsCheck { ca_file: Some("/nowhere/ca.pem".into()), ..good(&ours, named) };
    let rows = [
        ("good", &ours, good(&ours, named), Ok(())),
        ("good for the address", &ours, good(&ours, Some("127.0.0.1")), Ok(())),
        (
            "for another name: that of the request",
            &ours,
            good(&ours, None),
            Err("TLS: the certificate is not for example.org"),
        ),
        (
            "another authority",
            &ours,
            good(&others, named),
            Err("TLS: the certificate is of an authority that is not trusted"),
        ),
        (
            "none of the machine's authorities",
            &ours,
            TlsCheck { ca_file: None, ..good(&ours, named) },
            Err("TLS: the certificate is of an authority that is not trusted"),
        ),
        ("run out", &old, good(&old, named), Err("TLS: the certificate has run out")),
        ("run out, and nobody looks", &old, nobody, Ok(())),
        (
            "no file",
            &ours,
            missing,
            Err("not tried: ca_file /nowhere/ca.pem: no such file or directory"),
        ),
    ];
    for (description, shown, tls, wanted) in rows {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
        let (address, names) = tls_server(shown, answer).await;
        let check = HttpCheck { tls: Some(tls.clone()), ..http() };
        let got = told(address, &spec(check)).await;
        match (got, wanted) {
            (Ok(()), Ok(())) => {
                let name = tls.server_name.filter(|name| name != "127.0.0.1");
                let wanted = name.or_else(|| (!tls.verify).then(|| "example.org".to_string()));
                assert_eq!(names.await.unwrap(), wanted, "{description}: SNI");
            }
            (Err(got), Err(wanted)) => assert!(got.starts_with(wanted), "{description}: {got}"),
            other => panic!("{description}: {other:?}"),
        }
    }
}
