//! `feeds:` -> [`FeedSpec`].

use std::net::IpAddr;

use super::reader::Section;
use super::scalar::{Scalar, Wrong, boolean, path, text};
use super::schema;
use crate::control::FeedSpec;

/// More is a mistake, and each takes a task and a connection.
const MOST_FEEDS: usize = 16;

pub(super) fn read(root: &Section<'_>) -> Option<Vec<FeedSpec>> {
    let feeds = root.maps("feeds", &schema::FEED, feed)?;
    let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
    root.own_names("feeds", MOST_FEEDS, &names)?;
    Some(feeds)
}

fn feed(section: &Section<'_>) -> Option<FeedSpec> {
    let name = section.get("name", name);
    let url = section.get("url", url);
    let plaintext = section.get("plaintext", boolean);
    let node = section.optional("node", text);
    let ca_file = section.optional("ca_file", path);
    let cert_file = section.optional("cert_file", path);
    let key_file = section.optional("key_file", path);
    let token_file = section.optional("token_file", path);
    let (url, plaintext) = (url?, plaintext?);
    let is_plain = url.starts_with("http://");
    if is_plain && !plaintext && !is_loopback(&url) {
        let problem = "everybody on the way could read and change what is sent";
        section.refuse("url", problem, "`https://`, or `plaintext: true` if that is meant");
        return None;
    }
    for (key, file) in [("ca_file", &ca_file), ("cert_file", &cert_file), ("key_file", &key_file)] {
        if is_plain && matches!(file, Some(Some(_))) {
            section.refuse(key, "plain connections have no certificates", "`https://` in `url`");
            return None;
        }
    }
    let cert_files = match (cert_file?, key_file?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            section.refuse("cert_file", "its key is missing", "`key_file` beside it");
            return None;
        }
        (None, Some(_)) => {
            section.refuse("key_file", "its certificate is missing", "`cert_file` beside it");
            return None;
        }
    };
    let (name, node, ca_file, token_file) = (name?, node?, ca_file?, token_file?);
    Some(FeedSpec { name, url, node, ca_file, cert_files, token_file })
}

/// It becomes part of a file's name.
pub(super) fn name(scalar: Scalar<'_>) -> Result<String, Wrong> {
    let name = text(scalar)?;
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if name.len() <= 64 && name.chars().all(is_good) {
        return Ok(name);
    }
    let wanted = "1 to 64 of a-z 0-9 _ -".to_string();
    Err(Wrong { problem: "no name".to_string(), wanted, hint: None })
}

fn url(scalar: Scalar<'_>) -> Result<String, Wrong> {
    let wanted = "`https://HOST:PORT` or `http://HOST:PORT`";
    let text = text(scalar).map_err(|wrong| Wrong { wanted: wanted.to_string(), ..wrong })?;
    let is_good = host_of(&text).is_some_and(|(host, _)| !host.is_empty());
    if is_good {
        return Ok(text);
    }
    let problem = "no address of a feed".to_string();
    Err(Wrong { problem, wanted: wanted.to_string(), hint: None })
}

/// Host and port of `https://HOST:PORT`, an IPv6 address without its brackets.
pub fn host_of(url: &str) -> Option<(&str, u16)> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_good = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    host.chars().all(is_good).then_some((host, port))
}

fn is_loopback(url: &str) -> bool {
    let host = host_of(url).map_or("", |(host, _)| host);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_of_feeds() {
        let rows = [
            ("name: a, url: \"https://f:1\"", ""),
            ("name: a, url: \"http://127.0.0.1:1\"", ""),
            ("name: a, url: \"http://localhost:1\", token_file: /t", ""),
            ("name: a, url: \"http://f:1\", plaintext: true", ""),
            ("name: a, url: \"http://f:1\"", "feeds[0].url: everybody on the way could read"),
            ("name: a, url: \"https://f\"", "feeds[0].url: no address of a feed"),
            ("name: ../a, url: \"https://f:1\"", "feeds[0].name: no name"),
            (
                "name: a, url: \"http://[::1]:1\", ca_file: /c",
                "feeds[0].ca_file: plain connections",
            ),
            (
                "name: a, url: \"https://f:1\", cert_file: /c",
                "feeds[0].cert_file: its key is missing",
            ),
            ("name: a, url: \"https://f:1\", key_file: /c", "feeds[0].key_file: its certificate"),
            (
                "name: a, url: \"https://f:1\" }, { name: a, url: \"https://g:1\"",
                "feeds[1].name: `a` is feeds[0] already",
            ),
        ];
        for (feed, wanted) in rows {
            let text = format!(
                "version: 1\ninterfaces: [{{ name: eth1 }}]\nservices: []\nfeeds: [{{ {feed} }}]\n"
            );
            let told = match crate::source::yaml::parse("f", &text) {
                Ok(config) => format!("{} feeds", config.node.feeds.len()),
                Err(error) => error.to_string(),
            };
            let wanted = if wanted.is_empty() { "1 feeds" } else { wanted };
            assert!(told.contains(wanted), "{feed}: {told}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        let rows = [
            ("https://feed.example.org:7443", Some(("feed.example.org", 7443))),
            ("http://[::1]:80/", Some(("::1", 80))),
            ("https://10.0.0.1", None),
            ("https://::1:80", None),
            ("https://a b:80", None),
            ("https://a:0", None),
            ("ftp://a:1", None),
        ];
        for (url, wanted) in rows {
            assert_eq!(host_of(url), wanted, "{url}");
        }
    }
}
