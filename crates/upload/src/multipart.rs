//! The request's body: `multipart/form-data` with the one part `file` (RFC 7578), its length known, its bytes shared.
//!
//! The archive is never copied: a payload is a list of segments, and cloning one clones handles.

use bytes::Bytes;
use rand::{Rng, RngExt as _};

/// A body of known length, built anew for each attempt at no cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    /// In order.
    pub(crate) segments: Vec<Bytes>,
}

impl Payload {
    /// Bytes in all.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len() as u64).sum()
    }
}

/// The archive as the one part `file` of a form.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) content_type: String,
    pub(crate) payload: Payload,
}

impl Form {
    /// `name` gets the ending `.zip` if it has none: Zoho's page asks for a zip file's name.
    pub(crate) fn new(name: &str, archive: Bytes, rng: &mut dyn Rng) -> Form {
        // 128 random bits: that the archive holds them by chance is less likely than a bit flip in memory.
        let boundary = format!("zbulk-{:032x}", rng.random::<u128>());
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            filename(name)
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Form {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            payload: Payload { segments: vec![Bytes::from(head), archive, Bytes::from(tail)] },
        }
    }
}

/// Escaped as browsers do it (WHATWG HTML, "multipart form data"): a quote or a line end would end the header.
fn filename(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        match character {
            '"' => escaped.push_str("%22"),
            '\r' => escaped.push_str("%0D"),
            '\n' => escaped.push_str("%0A"),
            character if character.is_control() => escaped.push('_'),
            character => escaped.push(character),
        }
    }
    if !name.to_ascii_lowercase().ends_with(".zip") {
        escaped.push_str(".zip");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn form(name: &str, archive: &'static [u8]) -> (String, String) {
        let form = Form::new(name, Bytes::from_static(archive), &mut StdRng::seed_from_u64(1));
        let body = form.payload.segments.concat();
        assert_eq!(form.payload.len_bytes(), body.len() as u64);
        let boundary = form.content_type.split_once("boundary=").unwrap().1.to_owned();
        (String::from_utf8(body).unwrap().replace(&boundary, "BOUNDARY"), form.content_type)
    }

    #[test]
    fn the_body_is_one_part_named_file() {
        let (body, _) = form("Contacts-00001.zip", b"PK..");
        insta::assert_snapshot!(body.replace('\r', "<CR>"), @r#"
        --BOUNDARY<CR>
        Content-Disposition: form-data; name="file"; filename="Contacts-00001.zip"<CR>
        Content-Type: application/octet-stream<CR>
        <CR>
        PK..<CR>
        --BOUNDARY--<CR>
        "#);
    }

    #[test]
    fn a_name_cannot_end_its_header_and_always_ends_in_zip() {
        assert_eq!(filename("a.ZIP"), "a.ZIP");
        assert_eq!(filename("a"), "a.zip");
        assert_eq!(filename("a\"\r\nX: y\0.zip"), "a%22%0D%0AX: y_.zip");
    }

    #[test]
    fn the_archive_is_not_copied() {
        let archive = Bytes::from(vec![7_u8; 1 << 20]);
        let form = Form::new("a.zip", archive.clone(), &mut StdRng::seed_from_u64(1));
        let again = form.payload.clone();
        assert_eq!(again.segments[1].as_ptr(), archive.as_ptr());
    }

    #[test]
    fn two_forms_have_two_boundaries() {
        let mut rng = StdRng::seed_from_u64(1);
        let first = Form::new("a.zip", Bytes::new(), &mut rng);
        assert_ne!(first.content_type, Form::new("a.zip", Bytes::new(), &mut rng).content_type);
    }
}
