//! Single values: text -> number, address, duration, ... or what is wrong with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::error::quoted;
use super::tree::is_null;
use crate::control::StatusSet;
use crate::wire::MacAddress;

/// A value as it was written.
#[derive(Clone, Copy)]
pub(super) struct Scalar<'a> {
    pub text: &'a str,
    /// Without quotes.
    pub plain: bool,
}

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub problem: String,
    pub wanted: String,
    pub hint: Option<String>,
}

impl Wrong {
    fn new(problem: String, wanted: impl Into<String>) -> Wrong {
        Wrong { problem, wanted: wanted.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Wrong {
        Wrong { hint: Some(hint.into()), ..self }
    }
}

type Read<T> = Result<T, Wrong>;

/// What numbers, durations and the like begin with: a plain text that is there.
fn plain<'a>(scalar: Scalar<'a>, wanted: &str) -> Read<&'a str> {
    if !scalar.plain {
        let problem = format!("{} is a text in quotes", quoted(scalar.text));
        return Err(Wrong::new(problem, wanted).hint("leave the quotes away"));
    }
    present(scalar, wanted)
}

fn present<'a>(scalar: Scalar<'a>, wanted: &str) -> Read<&'a str> {
    if (scalar.plain && is_null(scalar.text)) || scalar.text.is_empty() {
        return Err(Wrong::new("there is no value".to_string(), wanted));
    }
    Ok(scalar.text)
}

/// A decimal number in the range.
pub(super) fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(Scalar<'_>) -> Read<T> {
    move |scalar| {
        let wanted = match (range.start(), range.end()) {
            (first, last) if first == last => format!("`{first}`"),
            (first, last) => format!("a number from {first} to {last}"),
        };
        let text = plain(scalar, &wanted)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Wrong::new(format!("{} is not a number", quoted(text)), wanted));
        }
        if digits.len() > 1 && digits.starts_with('0') {
            let wrong = Wrong::new(format!("{} begins with 0", quoted(text)), wanted);
            return Err(wrong.hint("some YAML readers take it for octal: leave the 0 away"));
        }
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| Wrong::new(format!("{} is out of range", quoted(text)), wanted))
    }
}

/// `true` or `false`.
pub(super) fn boolean(scalar: Scalar<'_>) -> Read<bool> {
    choice(&[("true", true), ("false", false)])(scalar)
}

/// One of some words.
pub(super) fn choice<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(Scalar<'_>) -> Read<T> {
    move |scalar| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let wanted = one_of(&names);
        let text = present(scalar, &wanted)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let wrong = Wrong::new(format!("{} is not known", quoted(text)), wanted.clone());
            Wrong { hint: did_you_mean(text, &names), ..wrong }
        })
    }
}

/// Any text but an empty one.
pub(super) fn text(scalar: Scalar<'_>) -> Read<String> {
    present(scalar, "a text").map(str::to_string)
}

/// An address of either family. IPv4-mapped ones are no third way of writing one.
pub(super) fn address(scalar: Scalar<'_>) -> Read<IpAddr> {
    const WANTED: &str = "an IPv4 or IPv6 address such as 10.1.0.10 or 2001:db8::10";
    let text = present(scalar, WANTED)?;
    let address = text.parse().map_err(|_| {
        let wrong = Wrong::new(format!("{} is not an IP address", quoted(text)), WANTED);
        if text.contains('/') {
            wrong.hint("one address, without a prefix length")
        } else if text.contains('%') {
            wrong.hint("an address that needs no zone")
        } else if text.starts_with('[') && text.ends_with(']') {
            wrong.hint("without the brackets")
        } else if text.parse::<SocketAddr>().is_ok() {
            wrong.hint("the port has a key of its own")
        } else {
            wrong
        }
    })?;
    match address {
        IpAddr::V6(address) => not_mapped(address, text, WANTED).map(IpAddr::V6),
        IpAddr::V4(_) => Ok(address),
    }
}

/// Where something listens: an address with its port.
pub(super) fn socket_address(scalar: Scalar<'_>) -> Read<SocketAddr> {
    const WANTED: &str = "an address and a port such as 127.0.0.1:9464 or \"[::1]:9464\"";
    let text = present(scalar, WANTED)?;
    let wrong = || Wrong::new(format!("{} is no address with a port", quoted(text)), WANTED);
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(wrong().hint("port 0 is nowhere")),
        Ok(address) => Ok(address),
        Err(_) if text.parse::<IpAddr>().is_ok() => Err(wrong().hint("its port is missing")),
        Err(_) => Err(wrong()),
    }
}

fn not_mapped(address: Ipv6Addr, text: &str, wanted: &str) -> Read<Ipv6Addr> {
    let Some(mapped) = address.to_ipv4_mapped() else { return Ok(address) };
    let wrong = Wrong::new(format!("{} is an IPv4-mapped address", quoted(text)), wanted);
    Err(wrong.hint(format!("no packet may carry it; the IPv4 address is {mapped}")))
}

/// A network such as `10.1.0.0/16` or `2001:db8::/32`, without host bits.
pub(super) fn network(scalar: Scalar<'_>) -> Read<(IpAddr, u8)> {
    const WANTED: &str = "an IPv4 or IPv6 network such as 10.1.0.0/16 or 2001:db8::/32";
    let text = present(scalar, WANTED)?;
    let wrong = || Wrong::new(format!("{} is not an IP network", quoted(text)), WANTED);
    let (network, len) = text.split_once('/').ok_or_else(wrong)?;
    let network: IpAddr = network.parse().map_err(|_| wrong())?;
    let most = if network.is_ipv4() { 32 } else { 128 };
    let len: u8 = len.parse().ok().filter(|len| *len <= most).ok_or_else(wrong)?;
    let host_bits = u32::from(most - len);
    let clean: IpAddr = match network {
        IpAddr::V4(network) => {
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv4Addr::from_bits(network.to_bits() & mask).into()
        }
        IpAddr::V6(network) => {
            let network = not_mapped(network, text, WANTED)?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv6Addr::from_bits(network.to_bits() & mask).into()
        }
    };
    if clean != network {
        return Err(wrong().hint(format!("its network is {clean}/{len}")));
    }
    Ok((network, len))
}

/// A station's MAC address.
pub(super) fn mac(scalar: Scalar<'_>) -> Read<MacAddress> {
    const WANTED: &str = "a MAC address such as 02:00:00:00:00:01";
    let text = present(scalar, WANTED)?;
    let mac: MacAddress = text
        .parse()
        .map_err(|_| Wrong::new(format!("{} is not a MAC address", quoted(text)), WANTED))?;
    if !mac.is_station() {
        return Err(Wrong::new(format!("{} is not a station's", quoted(text)), WANTED));
    }
    Ok(mac)
}

/// `1024-65535`, or one number.
pub(super) fn range(scalar: Scalar<'_>) -> Read<RangeInclusive<u16>> {
    const WANTED: &str = "a range such as 1024-65535, or one number, up to 65535";
    let text = present(scalar, WANTED)?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let part = |part: &str| part.trim().parse::<u16>().ok();
    match (part(first), part(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(Wrong::new(format!("{} is empty", quoted(text)), WANTED)
            .hint("the smaller number stands first")),
        _ => Err(Wrong::new(format!("{} is not a range", quoted(text)), WANTED)),
    }
}

/// `30`, or `30 %`.
pub(super) fn percent(scalar: Scalar<'_>) -> Read<u8> {
    let text = scalar.text.strip_suffix('%').map_or(scalar.text, str::trim_end);
    let number = number(0..=100)(Scalar { text, plain: scalar.plain });
    number.map_err(|wrong| Wrong { wanted: "a percentage such as 30 or 30%".to_string(), ..wrong })
}

/// Statuses of HTTP: `200-299,401`.
pub(super) fn status_set(scalar: Scalar<'_>) -> Read<StatusSet> {
    const WANTED: &str = "statuses such as 200-299,401";
    let text = present(scalar, WANTED)?;
    let part = |text| range(Scalar { text, plain: true });
    let ranges: Read<Vec<_>> = text.split(',').map(|text| part(text.trim())).collect();
    ranges.map(StatusSet).map_err(|wrong| Wrong { wanted: WANTED.to_string(), ..wrong })
}

/// A text's bytes, or those that stand behind `hex:`.
pub(super) fn bytes(scalar: Scalar<'_>) -> Read<Vec<u8>> {
    const WANTED: &str = "a text, or hex: and pairs of hex digits";
    let text = present(scalar, WANTED)?;
    let Some(digits) = text.strip_prefix("hex:") else { return Ok(text.as_bytes().to_vec()) };
    let digits: Vec<char> = digits.chars().filter(|digit| *digit != ' ').collect();
    let byte = |pair: &[char]| match pair {
        [high, low] => Some((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| Wrong::new(format!("{} is not hex", quoted(text)), WANTED))
}

/// A duration in milliseconds, up to `max_ms`.
pub(super) fn duration_ms(min_ms: u32, max_ms: u32) -> impl Fn(Scalar<'_>) -> Read<u32> {
    move |scalar| {
        const WANTED: &str = "a duration such as 500ms, 2s, 5m or 2h4m";
        let text = plain(scalar, WANTED)?;
        let wrong = || Wrong::new(format!("{} is not a duration", quoted(text)), WANTED);
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong().hint(format!("it has no unit: {text}s or {text}ms")));
        }
        let ms = milliseconds(text).ok_or_else(wrong)?;
        u32::try_from(ms).ok().filter(|ms| (min_ms..=max_ms).contains(ms)).ok_or_else(|| {
            let wanted = format!("{} to {}", show_ms(min_ms), show_ms(max_ms));
            Wrong::new(format!("{} is out of range", quoted(text)), wanted)
        })
    }
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `2h4m`: numbers with units, each unit at most once and the larger before the smaller.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let (mut sum, mut rest, mut last) = (0u64, text, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let ms = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        if ms >= last {
            return None;
        }
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(ms)?)?;
        (rest, last) = (after, ms);
    }
    Some(sum)
}

/// Milliseconds as the file would say them.
pub(super) fn show_ms(ms: u32) -> String {
    let mut rest = u64::from(ms);
    let mut shown = String::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            shown.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if shown.is_empty() { "0s".to_string() } else { shown }
}

/// A path from the root, so that it means the same wherever Guideway is started.
pub(super) fn path(scalar: Scalar<'_>) -> Read<PathBuf> {
    const WANTED: &str = "a path that begins with `/`";
    let text = present(scalar, WANTED)?;
    if !text.starts_with('/') || text.contains('\0') {
        return Err(Wrong::new(format!("{} is not a whole path", quoted(text)), WANTED));
    }
    Ok(PathBuf::from(text))
}

/// A path a unix socket can have: `sun_path` is 108 bytes with its NUL (unix(7)).
pub(super) fn socket_path(scalar: Scalar<'_>) -> Read<PathBuf> {
    let path = path(scalar)?;
    if path.as_os_str().len() > 107 {
        let problem = format!("a path of {} bytes", path.as_os_str().len());
        return Err(Wrong::new(problem, "at most 107, the most a unix socket can have"));
    }
    Ok(path)
}

/// A name the kernel can give an interface (its `dev_valid_name`).
pub(super) fn interface_name(scalar: Scalar<'_>) -> Read<String> {
    const WANTED: &str = "1 to 15 bytes without blanks, `/` and `:`";
    let text = present(scalar, WANTED)?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    if text.len() > 15 || text.contains(bad) || text == "." || text == ".." {
        return Err(Wrong::new(format!("{} is no interface's name", quoted(text)), WANTED));
    }
    Ok(text.to_string())
}

/// `` `a`, `b` or `c` ``
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_string(),
    }
}

/// A hint with the name that may have been meant.
pub(super) fn did_you_mean(text: &str, names: &[&str]) -> Option<String> {
    nearest(text, names).map(|name| format!("did you mean `{name}`?"))
}

/// The name that differs least, where it is near enough to be meant.
pub(super) fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    if text.len() > 40 {
        return None;
    }
    let (steps, name) = names.iter().map(|name| (distance(text, name), *name)).min()?;
    (steps <= 1 + name.len() / 4).then_some(name)
}

/// Insertions, deletions and replacements between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (place, to) in b.iter().zip(row.iter_mut().skip(1)).map(|(to, place)| (place, to)) {
            let replaced = corner + usize::from(from != *to);
            corner = *place;
            left = replaced.min(left + 1).min(corner + 1);
            *place = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Scalar<'_> {
        Scalar { text, plain: true }
    }

    #[test]
    fn durations() {
        let rows = [
            ("500ms", Some(500)),
            ("2s", Some(2_000)),
            ("5m", Some(300_000)),
            ("2h4m", Some(7_440_000)),
            ("1d", Some(86_400_000)),
            ("1s500ms", Some(1_500)),
            ("2", None),
            ("s", None),
            ("2 s", None),
            ("4m2h", None),
            ("1s1s", None),
            ("1.5s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("100d", None),
            ("é", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(duration_ms(0, u32::MAX)(of(text)).ok(), wanted, "{text}");
            if let Some(ms) = wanted {
                assert_eq!(show_ms(ms), text);
            }
        }
    }

    #[test]
    fn numbers_ranges_and_networks() {
        for (text, wanted) in
            [("0", Some(0)), ("65535", Some(65535)), ("65536", None), ("-1", None), ("0x1", None)]
        {
            assert_eq!(number::<u16>(0..=65535)(of(text)).ok(), wanted, "{text}");
        }
        let rows = [
            ("200", Some(200..=200)),
            ("200-399", Some(200..=399)),
            ("2-1", None),
            ("1-65536", None),
            ("-", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(range(of(text)).ok(), wanted, "{text}");
        }
        let rows = [
            ("0.0.0.0/0", true),
            ("10.1.0.0/16", true),
            ("10.1.0.1/32", true),
            ("10.1.0.1/16", false),
            ("10.1.0.0/33", false),
            ("10.1.0.0", false),
            ("::/0", true),
            ("2001:db8::/32", true),
            ("2001:db8::1/128", true),
            ("2001:db8::1/64", false),
            ("2001:db8::/129", false),
            ("::ffff:10.1.0.0/112", false),
        ];
        for (text, fine) in rows {
            assert_eq!(network(of(text)).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn addresses_with_ports() {
        let rows = [
            ("127.0.0.1:9464", true),
            ("[::1]:9464", true),
            ("127.0.0.1", false),
            ("127.0.0.1:0", false),
            ("127.0.0.1:65536", false),
            ("::1:9464", false),
            ("localhost:9464", false),
            (":9464", false),
        ];
        for (text, fine) in rows {
            assert_eq!(socket_address(of(text)).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn statuses_and_bytes() {
        let rows = [
            ("200", Some("200")),
            ("200-299,401", Some("200-299,401")),
            ("200-299, 401", Some("200-299,401")),
            ("200-299,", None),
            ("ok", None),
        ];
        for (text, wanted) in rows {
            let got = status_set(of(text)).ok().map(|set| set.to_string());
            assert_eq!(got.as_deref(), wanted, "{text}");
        }
        for (text, wanted) in
            [("0", Some(0)), ("30%", Some(30)), ("100 %", Some(100)), ("101", None)]
        {
            assert_eq!(percent(of(text)).ok(), wanted, "{text}");
        }
        let rows: [(&str, Option<&[u8]>); 5] = [
            ("PING\r\n", Some(b"PING\r\n")),
            ("hex:00ff 1a", Some(&[0, 255, 26])),
            ("hex:", Some(&[])),
            ("hex:0", None),
            ("hex:0g", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(bytes(of(text)).ok().as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn the_nearest_name() {
        let names = ["address", "port", "protocol", "weight"];
        let rows = [
            ("adress", Some("address")),
            ("prot", Some("port")),
            ("protokol", Some("protocol")),
            ("wieght", Some("weight")),
            ("colour", None),
        ];
        for (text, wanted) in rows {
            let wanted = wanted.map(|name| format!("did you mean `{name}`?"));
            assert_eq!(did_you_mean(text, &names), wanted, "{text}");
        }
    }
}
