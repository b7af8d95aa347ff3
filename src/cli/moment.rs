//! Moments and durations on the command line.

use std::time::Duration;

pub use crate::source::moment::now_unix_ms;
use crate::source::yaml::duration_ms;

const DAY_S: i64 = 86_400;

/// A duration such as `30s` or `2h30m`, as the configuration has them.
///
/// # Errors
/// That it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let ms = duration_ms(text).ok_or("expected a duration such as 30s, 5m or 2h30m")?;
    Ok(Duration::from_millis(ms))
}

/// A moment in Unix milliseconds: so long from now (`2h`), or a time by RFC 3339
/// (`2026-11-30T06:00:00Z`, `2026-11-30 07:00:00+01:00`).
///
/// # Errors
/// That it is none.
pub fn until(text: &str) -> Result<u64, String> {
    let wrong = || {
        "expected a time such as 2026-11-30T06:00:00Z or 2026-11-30T07:00:00+01:00, or a duration \
         from now such as 2h"
            .to_string()
    };
    if let Some(ms) = duration_ms(text) {
        return now_unix_ms().checked_add(ms).ok_or_else(wrong);
    }
    let seconds = rfc3339(text).ok_or_else(wrong)?;
    u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000)).ok_or_else(wrong)
}

/// A moment as RFC 3339 writes it, in UTC.
pub fn shown(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    let (year, month, day) = date_of(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 of a time by RFC 3339 section 5.6, without parts of seconds.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, zone) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, day);
    // A day that the month has not, such as 31 April, is another month's.
    if date_of(days) != (year, month, day) {
        return None;
    }
    Some(days * DAY_S + hour * 3_600 + minute * 60 + second - offset(zone)?)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let number = |part: &str| {
        let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| is_digits)
    };
    let numbers: Option<Vec<i64>> = text.split(separator).map(number).collect();
    numbers?.try_into().ok()
}

/// `Z`, or seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').filter(|_| digits.len() == 5)?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let is_offset = (0..=23).contains(&hours) && (0..=59).contains(&minutes);
    is_offset.then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970 of a date. Years begin in March, so that the day that comes and goes is the last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// The date so many days after 1 January 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_row() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2026-11-30T06:00:00Z", Some(1_796_018_400)),
            ("2026-11-30 07:30:00+01:30", Some(1_796_018_400)),
            ("2026-11-29t22:00:00-08:00", Some(1_796_018_400)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-30T24:00:00Z", None),
            ("2026-11-30T06:00:00", None),
            ("2026-11-30T06:00:00+1:00", None),
            ("2026-11-30", None),
            ("+026-11-30T06:00:00Z", None),
            ("tomorrow, at noon or so", None),
            ("", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(rfc3339(text), wanted, "{text}");
        }
    }

    #[test]
    fn every_day_is_shown_as_it_is_read() {
        for day in (0..60_000).step_by(17) {
            let at = shown(day * 86_400_000 + 3_723_456);
            assert!(at.ends_with("T01:02:03Z"), "{at}");
            assert_eq!(rfc3339(&at), Some(day as i64 * DAY_S + 3_723), "{at}");
        }
    }

    #[test]
    fn a_duration_counts_from_now() {
        let left = until("2h").unwrap() - now_unix_ms();
        assert!((7_190_000..=7_200_000).contains(&left), "{left}");
        assert!(until("2").unwrap_err().contains("expected a time"));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "s", "1s1m", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
