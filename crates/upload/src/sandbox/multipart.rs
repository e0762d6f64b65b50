//! The one part of an upload's form, found by a parser that forgives nothing.
//!
//! Own code because strictness is the point: a general parser (multer, say) accepts preambles, several parts and
//! loose line ends, and a client that relies on that would learn of it at Zoho. The body is whole in memory, so
//! the parser is two searches and a few comparisons. Grammar: RFC 2046 section 5.1.1, RFC 7578 section 4.

use std::ops::Range;

use memchr::memmem;

/// Where the part's content lies in the body, and what its header said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
    /// The bytes of the file, without the form around them.
    pub(super) content: Range<usize>,
}

/// Why a body is not a form of exactly one part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("the Content-Type header is not multipart/form-data")]
    NotMultipart,
    #[error("the Content-Type header has no usable boundary")]
    NoBoundary,
    #[error("the body does not begin with the boundary of the Content-Type header")]
    NoFirstBoundary,
    #[error("the body does not end with the closing boundary")]
    NoLastBoundary,
    #[error("the form has more than one part")]
    SeveralParts,
    #[error("the form has no part")]
    NoPart,
    #[error("the part's header is malformed at `{line}`")]
    PartHeader { line: String },
    #[error("the part has no Content-Disposition of form-data with a name")]
    NoName,
}

/// Takes the only part out of a form; the body must be that part, its boundaries and nothing else.
pub(super) fn only_part(content_type: Option<&str>, body: &[u8]) -> Result<Part, FormError> {
    let boundary = boundary(content_type.ok_or(FormError::NotMultipart)?)?;
    let opening = format!("--{boundary}");
    let after_opening = body.strip_prefix(opening.as_bytes()).ok_or(FormError::NoFirstBoundary)?;
    if matches!(after_opening, b"--" | b"--\r\n") {
        return Err(FormError::NoPart);
    }
    let after_opening = after_opening.strip_prefix(b"\r\n").ok_or(FormError::NoFirstBoundary)?;
    let headers_start = body.len() - after_opening.len();

    let delimiter = format!("\r\n--{boundary}");
    let content_end = memmem::find(&body[headers_start..], delimiter.as_bytes())
        .map(|at| headers_start + at)
        .ok_or(FormError::NoLastBoundary)?;
    match &body[content_end + delimiter.len()..] {
        b"--" | b"--\r\n" => {}
        rest if rest.starts_with(b"\r\n") => return Err(FormError::SeveralParts),
        _ => return Err(FormError::NoLastBoundary),
    }

    let headers_len = memmem::find(&body[headers_start..content_end], b"\r\n\r\n")
        .ok_or_else(|| FormError::PartHeader { line: String::new() })?;
    let content = headers_start + headers_len + 4..content_end;
    let mut part = Part { name: String::new(), file_name: None, content_type: None, content };
    let mut named = false;
    for line in body[headers_start..headers_start + headers_len].split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        let Some((name, value)) = line.split_once(':') else { return Err(FormError::PartHeader { line }) };
        if name.eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = parameters(value);
            part.file_name = parameter(&parameters, "filename");
            if let Some(name) = parameter(&parameters, "name").filter(|_| kind == "form-data") {
                part.name = name;
                named = true;
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            part.content_type = Some(value.trim().to_owned());
        }
    }
    if named { Ok(part) } else { Err(FormError::NoName) }
}

fn boundary(content_type: &str) -> Result<String, FormError> {
    let (kind, parameters) = parameters(content_type);
    if kind != "multipart/form-data" {
        return Err(FormError::NotMultipart);
    }
    let boundary = parameter(&parameters, "boundary").ok_or(FormError::NoBoundary)?;
    // 1 to 70 characters of `bchars`, not ending in a space: RFC 2046 section 5.1.1.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    if (1..=70).contains(&boundary.len()) && boundary.bytes().all(allowed) && !boundary.ends_with(' ') {
        Ok(boundary)
    } else {
        Err(FormError::NoBoundary)
    }
}

/// Splits `value; a=b; c="d"` into the lower-case value and its parameters; semicolons in quotes are text.
fn parameters(header: &str) -> (String, Vec<(String, String)>) {
    let mut pieces = Vec::new();
    let (mut piece, mut quoted, mut escaped) = (String::new(), false, false);
    for character in header.chars() {
        match character {
            _ if escaped => {
                piece.push(character);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => pieces.push(std::mem::take(&mut piece)),
            _ => piece.push(character),
        }
    }
    pieces.push(piece);
    let mut pieces = pieces.into_iter();
    let value = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = pieces
        .filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    (value, parameters)
}

fn parameter(parameters: &[(String, String)], name: &str) -> Option<String> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Option<&str> = Some("multipart/form-data; boundary=xyz");
    const ONE: &str = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\
                       Content-Type: application/zip\r\n\r\nPK\r\n--xyzzy\r\n--xyz--\r\n";

    #[test]
    fn a_form_of_one_part_gives_the_bytes_of_its_file() {
        let body = ONE.replace("\r\n--xyzzy", "");
        let part = only_part(FORM, body.as_bytes()).unwrap();
        assert_eq!(&body[part.content.clone()], "PK");
        assert_eq!((part.name.as_str(), part.file_name.as_deref()), ("file", Some("a.zip")));
        assert_eq!(part.content_type.as_deref(), Some("application/zip"));
    }

    #[test]
    fn a_quoted_boundary_and_a_missing_last_line_end_are_legal() {
        let content_type = Some("Multipart/Form-Data; charset=utf-8; boundary=\"x y;z\"");
        let body = b"--x y;z\r\ncontent-disposition: form-data; name=file\r\n\r\n\r\n--x y;z--";
        // A semicolon is no boundary character, though a quoted one would parse.
        assert_eq!(only_part(content_type, body), Err(FormError::NoBoundary));
        let content_type = Some("multipart/form-data; boundary=\"x y\"");
        let body = b"--x y\r\ncontent-disposition: form-data; name=file\r\n\r\n\r\n--x y--";
        let part = only_part(content_type, body).unwrap();
        assert_eq!((part.content.len(), part.file_name), (0, None));
    }

    #[test]
    fn whatever_is_not_one_part_is_refused_with_its_reason() {
        let two = "--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--xyz\r\n\
                   Content-Disposition: form-data; name=b\r\n\r\n2\r\n--xyz--\r\n";
        let no_name = "--xyz\r\nContent-Disposition: attachment; name=file\r\n\r\nx\r\n--xyz--\r\n";
        let no_colon = "--xyz\r\nContent-Disposition\r\n\r\nx\r\n--xyz--\r\n";
        let cases = [
            (None, ONE, FormError::NotMultipart),
            (Some("application/zip"), ONE, FormError::NotMultipart),
            (Some("multipart/form-data"), ONE, FormError::NoBoundary),
            (FORM, "preamble\r\n--xyz\r\n\r\n\r\n--xyz--", FormError::NoFirstBoundary),
            (FORM, "--xyz\nContent-Disposition: form-data\n\nx\n--xyz--", FormError::NoFirstBoundary),
            (FORM, "--xyz--\r\n", FormError::NoPart),
            (FORM, two, FormError::SeveralParts),
            (FORM, ONE, FormError::NoLastBoundary),
            (FORM, "--xyz\r\nA: b\r\n\r\nx", FormError::NoLastBoundary),
            (FORM, "--xyz\r\nA: b\r\n\r\nx\r\n--xyz--\r\nepilogue", FormError::NoLastBoundary),
            (FORM, no_name, FormError::NoName),
            (FORM, no_colon, FormError::PartHeader { line: "Content-Disposition".into() }),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(only_part(content_type, body.as_bytes()), Err(expected), "{body}");
        }
    }
}
