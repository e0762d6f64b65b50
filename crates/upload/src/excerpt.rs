//! Text that others wrote, made fit to be shown: secrets redacted first, then control characters escaped, then cut.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};

/// How many bytes of a foreign text are shown.
pub(crate) const EXCERPT_BYTES: usize = 512;
const REDACTED: &str = "[redacted]";

/// Knows every secret of the run, so that none leaves it.
pub(crate) struct Redactor {
    secrets: RwLock<Vec<SecretString>>,
}

impl Redactor {
    pub(crate) fn new() -> Redactor {
        Redactor { secrets: RwLock::new(Vec::new()) }
    }

    /// From now on this value is shown nowhere. A value of nothing but blanks is no secret.
    pub(crate) fn learn(&self, secret: &SecretString) {
        let value = secret.expose_secret().trim();
        if value.is_empty() {
            return;
        }
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if !secrets.iter().any(|known| known.expose_secret() == value) {
            secrets.push(SecretString::from(value));
            // The longest first, so that a secret within a longer one does not leave the rest standing.
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        }
    }

    /// The first 512 bytes of `body` as one line.
    ///
    /// Secrets are taken out before the cut, or the cut could leave the first half of one.
    pub(crate) fn excerpt(&self, body: &[u8]) -> String {
        self.line(&String::from_utf8_lossy(body))
    }

    /// As [`excerpt`](Self::excerpt), of text.
    pub(crate) fn line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        {
            let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
            for secret in secrets.iter() {
                text = text.replace(secret.expose_secret(), REDACTED);
            }
        }
        let text = redact_token_shapes(&text);
        let cut = text.len() > EXCERPT_BYTES;
        let text = &text[..text.floor_char_boundary(EXCERPT_BYTES)];
        let mut line = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_control() || is_direction_mark(character) {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        if cut {
            line.push('…');
        }
        line
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor([redacted])")
    }
}

/// Zoho's tokens and client ids look like `1000.` and a long run of letters, digits and points: a server may repeat
/// one that this run never knew.
fn redact_token_shapes(text: &str) -> String {
    const HEAD: &str = "1000.";
    const TAIL_BYTES: usize = 16;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(HEAD) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let tail_len = from[HEAD.len()..]
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
            .count();
        let end = HEAD.len() + tail_len;
        out.push_str(if tail_len >= TAIL_BYTES { REDACTED } else { &from[..end] });
        rest = &from[end..];
    }
    out.push_str(rest);
    out
}

/// Characters that turn the direction of a terminal's text.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        for secret in secrets {
            redactor.learn(&SecretString::from(*secret));
        }
        redactor
    }

    #[test]
    fn a_known_secret_is_taken_out() {
        let redactor = redactor(&["canary-token"]);
        assert_eq!(redactor.excerpt(b"bad canary-token!"), "bad [redacted]!");
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_half() {
        let redactor = redactor(&["canary-token"]);
        let body = format!("{}canary-token", "x".repeat(EXCERPT_BYTES - 6));
        assert!(!redactor.excerpt(body.as_bytes()).contains("canary"));
    }

    #[test]
    fn a_secret_inside_a_longer_one_does_not_leave_the_rest() {
        let redactor = redactor(&["abc", "abcdef"]);
        assert_eq!(redactor.excerpt(b"abcdef"), "[redacted]");
    }

    #[test]
    fn a_token_nobody_knew_is_recognised_by_its_shape() {
        let redactor = redactor(&[]);
        let seen = redactor.excerpt(b"{\"t\":\"1000.8cb99d00112233445566.9be93\"} 1000.5 rows");
        assert_eq!(seen, "{\"t\":\"[redacted]\"} 1000.5 rows");
    }

    #[test]
    fn control_characters_are_escaped() {
        let redactor = redactor(&[]);
        assert_eq!(
            redactor.excerpt(b"a\x1b[31m\r\nb\xff\xe2\x80\xae"),
            "a\\u{1b}[31m\\r\\nb\u{fffd}\\u{202e}"
        );
    }

    #[test]
    fn an_excerpt_is_512_bytes_at_most_and_says_when_it_was_cut() {
        let redactor = redactor(&[]);
        assert_eq!(redactor.excerpt(&[b'x'; EXCERPT_BYTES]), "x".repeat(EXCERPT_BYTES));
        assert_eq!(redactor.excerpt(&[b'x'; EXCERPT_BYTES + 1]), format!("{}…", "x".repeat(EXCERPT_BYTES)));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", redactor(&["canary"])), "Redactor([redacted])");
    }
}
