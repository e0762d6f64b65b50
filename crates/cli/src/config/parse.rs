//! Text to values: numbers, sizes, rates, durations. Pure; an error says what would be right.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::output::count;

/// What is wrong with a value, to stand after the value and a colon.
pub(crate) type Parsed<T> = Result<T, String>;

/// A whole number within bounds. Underscores and commas between digits are read over.
pub(crate) fn number(text: &str, bounds: RangeInclusive<u64>) -> Parsed<u64> {
    let (low, high) = (*bounds.start(), *bounds.end());
    let wrong = || format!("must be a whole number from {} to {}", count(low), count(high));
    let digits = text.trim().replace(['_', ','], "");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    // More digits than a u64 holds is out of bounds too.
    let number = digits.parse().map_err(|_| wrong())?;
    if bounds.contains(&number) { Ok(number) } else { Err(wrong()) }
}

/// A number of bytes within bounds: `25MB` is decimal, `25MiB` and `25M` are binary.
pub(crate) fn size(text: &str, bounds: RangeInclusive<u64>) -> Parsed<u64> {
    let (low, high) = (*bounds.start(), *bounds.end());
    let wrong = || {
        format!(
            "must be a size from {} to {} bytes, as in 25MB (decimal) or 25MiB (binary)",
            count(low),
            count(high)
        )
    };
    let bytes = magnitude(text, byte_unit).ok_or_else(wrong)?;
    if bounds.contains(&bytes) { Ok(bytes) } else { Err(wrong()) }
}

/// A number of bytes, or `none`.
pub(crate) fn size_or_none(text: &str, bounds: RangeInclusive<u64>) -> Parsed<Option<u64>> {
    if is_none(text) {
        return Ok(None);
    }
    size(text, bounds).map(Some).map_err(|wrong| format!("{wrong}, or none"))
}

/// A whole number, or `none`.
pub(crate) fn number_or_none(text: &str, bounds: RangeInclusive<u64>) -> Parsed<Option<u64>> {
    if is_none(text) {
        return Ok(None);
    }
    number(text, bounds).map(Some).map_err(|wrong| format!("{wrong}, or none"))
}

/// Bytes per second: a size, or bits as in `50Mbit`; `none` is no limit.
pub(crate) fn rate(text: &str, bounds: RangeInclusive<u64>) -> Parsed<Option<u64>> {
    if is_none(text) {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "must be a rate of at least {} bytes a second, as in 2MB (bytes) or 50Mbit (bits), or none",
            count(*bounds.start())
        )
    };
    let text = text.trim();
    let text = text.strip_suffix("/s").unwrap_or(text);
    let bytes = magnitude(text, byte_unit)
        .or_else(|| magnitude(text, bit_unit).map(|bits| bits / 8))
        .ok_or_else(wrong)?;
    if bounds.contains(&bytes) { Ok(Some(bytes)) } else { Err(wrong()) }
}

/// A time span: `90s`, `30m`, `1h30m`, `7d`; a plain number is seconds.
pub(crate) fn duration(text: &str, longest: Duration) -> Parsed<Duration> {
    let wrong = || {
        format!("must be a duration of at most {}, as in 90s, 30m or 1h30m", crate::output::duration(longest))
    };
    let span = seconds(text.trim()).map(Duration::from_secs).ok_or_else(wrong)?;
    if span <= longest { Ok(span) } else { Err(wrong()) }
}

/// A number of starts per second, 0 for no limit.
pub(crate) fn starts(text: &str) -> Parsed<f64> {
    const WRONG: &str = "must be a number from 0 (no limit) to 1,000, as in 5 or 0.5";
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let starts = text.parse::<f64>().ok().filter(|_| plain).ok_or(WRONG)?;
    // Between 0 and one start in twenty minutes lies no use, but a denial of service by a job file.
    let fits = starts == 0.0 || (0.001..=1_000.0).contains(&starts);
    if fits { Ok(starts) } else { Err(WRONG.to_owned()) }
}

/// `true` or `false`, also as 1 and 0, yes and no.
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// One of some words, ignoring case.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let text = text.trim();
    choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, value)| value).ok_or_else(
        || {
            let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
            format!("must be one of {}", names.join(", "))
        },
    )
}

/// `v2`, `v2.1`, `v8` and so on: it stands in the path of every request.
pub(crate) fn api_version(text: &str) -> Parsed<String> {
    let text = text.trim();
    let parts = text.strip_prefix('v').map(|rest| rest.split('.').collect::<Vec<_>>()).unwrap_or_default();
    let digits =
        |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if (1..=2).contains(&parts.len()) && parts.iter().all(digits) {
        Ok(text.to_owned())
    } else {
        Err("must be a version as in v2, v2.1 or v8".to_owned())
    }
}

/// A `zgid`: it stands in a header, so letters and digits only.
pub(crate) fn org(text: &str) -> Parsed<String> {
    let text = text.trim();
    if (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err("must be the organisation's zgid: letters and digits only".to_owned())
    }
}

/// A module's API name: `[A-Za-z][A-Za-z0-9_]*`, at most 100 characters. It names files and entries.
pub(crate) fn module(text: &str) -> Parsed<String> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if first && text.len() <= 100 && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        Ok(text.to_owned())
    } else {
        Err("must be a module's API name: a letter, then letters, digits and underscores".to_owned())
    }
}

/// A job's name: it names the output directory, so it can neither leave its place nor hide.
pub(crate) fn job_name(text: &str) -> Parsed<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    let first = text.chars().next().is_some_and(char::is_alphanumeric);
    let last = text.chars().next_back().is_some_and(|c| c != ' ' && c != '.');
    if !first || !last || text.len() > 100 || !text.chars().all(allowed) {
        return Err(
            "must begin with a letter or digit and hold letters, digits, `-`, `_`, `.` and spaces only, \
                    100 bytes at most"
                .to_owned(),
        );
    }
    if text.to_ascii_lowercase().ends_with(".sandbox") {
        return Err("must not end in `.sandbox`: that is the directory of rehearsals".to_owned());
    }
    Ok(text.to_owned())
}

/// A delimiter: one of those of the CSV contract, or the word `tab`.
pub(crate) fn delimiter(text: &str) -> Parsed<u8> {
    match text {
        "," | ";" | "|" | ":" | "\t" => Ok(text.as_bytes()[0]),
        "tab" | "\\t" => Ok(b'\t'),
        _ => Err("must be one of `,` `;` `|` `:` or tab".to_owned()),
    }
}

fn is_none(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("none")
}

/// `<digits>[.<digits>]<unit>` as a whole number of the smallest unit; `None` if it is not so or too large.
fn magnitude(text: &str, unit: fn(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_' | ','))).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let factor = unit(suffix.trim_start())?;
    let digits = digits.replace(['_', ','], "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut bytes = whole.checked_mul(factor)?;
    if digits.contains('.') {
        if fraction.is_empty() || fraction.len() > 6 || factor == 1 {
            return None;
        }
        let part: u64 = fraction.parse().ok()?;
        let scaled = u128::from(part) * u128::from(factor) / 10_u128.pow(fraction.len() as u32);
        bytes = bytes.checked_add(u64::try_from(scaled).ok()?)?;
    }
    Some(bytes)
}

/// As coreutils have it: `K` and `KiB` are 1,024, `kB` is 1,000.
fn byte_unit(suffix: &str) -> Option<u64> {
    Some(match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    })
}

/// Bits are decimal, as on every network.
fn bit_unit(suffix: &str) -> Option<u64> {
    Some(match suffix.to_ascii_lowercase().as_str() {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return None,
    })
}

fn seconds(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let value: u64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let factor = match &after[..end] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            // Seconds without a unit, but only alone: `1h30` could be meant in two ways.
            "" if rest.len() == text.len() && after.is_empty() => 1,
            _ => return None,
        };
        // Each unit once, the larger before the smaller.
        if factor >= last {
            return None;
        }
        last = factor;
        total = total.checked_add(value.checked_mul(factor)?)?;
        rest = &after[end..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_decimal_with_b_and_binary_without() {
        let parse = |text| size(text, 0..=u64::MAX);
        for (text, bytes) in [
            ("0", 0),
            ("25000000", 25_000_000),
            ("25_000_000", 25_000_000),
            ("25MB", 25_000_000),
            ("25 mb", 25_000_000),
            ("25MiB", 26_214_400),
            ("512M", 512 << 20),
            ("1G", 1 << 30),
            ("1.5KiB", 1_536),
            ("500kB", 500_000),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.5", "1.M", "25 M B", "1e6", "0x10", "99999999999T", "1.2.3M", "५M"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_bytes_or_bits() {
        let parse = |text| rate(text, 1_024..=u64::MAX);
        assert_eq!(parse("50Mbit"), Ok(Some(6_250_000)));
        assert_eq!(parse("50 Mbit/s"), Ok(Some(6_250_000)));
        assert_eq!(parse("2MB/s"), Ok(Some(2_000_000)));
        assert_eq!(parse("none"), Ok(None));
        assert!(parse("1000").is_err());
        assert!(parse("fast").is_err());
    }

    #[test]
    fn durations_go_from_the_larger_unit_to_the_smaller() {
        let parse = |text| duration(text, Duration::from_hours(7 * 24)).map(|span| span.as_secs());
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("30m", 1_800), ("1h30m", 5_400), ("7d", 604_800), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for text in ["", "m", "30m1h", "1h1h", "1h30", "-5s", "1.5h", "8d", "99999999999999999999s", "30min"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn starts_per_second_is_a_plain_number_within_reason() {
        assert_eq!(starts("0"), Ok(0.0));
        assert_eq!(starts("0.5"), Ok(0.5));
        for text in ["-1", "inf", "NaN", "1e3", "1001", "0.00001", "", "."] {
            assert!(starts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for name in
            ["", ".", "..", "a/b", "/etc", ".hidden", "a\n", "a.", "a ", "x.Sandbox", "a\\b", "-rf", "a\0"]
        {
            assert!(job_name(name).is_err(), "{name:?}");
        }
        for name in ["crm-2026", "Zürich 2", "v1.2", "x.sandboxes"] {
            assert_eq!(job_name(name).as_deref(), Ok(name));
        }
        for name in ["", "1a", "_a", "a-b", "a.csv", "Ärzte", "../x", "a b"] {
            assert!(module(name).is_err(), "{name:?}");
        }
        assert_eq!(module("Deals_2x").as_deref(), Ok("Deals_2x"));
    }

    #[test]
    fn versions_and_organisations_cannot_carry_anything_into_a_request() {
        for text in ["v2", "v2.1", "v8"] {
            assert_eq!(api_version(text).as_deref(), Ok(text));
        }
        for text in ["", "2", "v", "v2/..", "v2.", "v2.1.1", "v2?x", "vv"] {
            assert!(api_version(text).is_err(), "{text}");
        }
        for text in ["", "1\r\nX: y", "1 2", "é"] {
            assert!(org(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,24}|[0-9._,]{0,24}[a-zA-Z]{0,4}") {
            // Only that they return is asked here.
            drop((number(&text, 0..=9), size(&text, 1..=u64::MAX), rate(&text, 1..=9), starts(&text)));
            drop((duration(&text, Duration::MAX), api_version(&text), org(&text), module(&text), job_name(&text)));
            drop((boolean(&text), delimiter(&text), choice(&text, &[("a", 1)])));
        }

        #[test]
        fn a_plain_number_is_its_own_size(number: u64) {
            prop_assert_eq!(size(&number.to_string(), 0..=u64::MAX), Ok(number));
            prop_assert_eq!(super::number(&number.to_string(), 0..=u64::MAX), Ok(number));
        }
    }
}
