//! `DIR/rejects/`: per input the rejected records in their original shape, loadable again once mended, and beside them
//! the reasons.
//!
//! `<Module>.csv` holds the input's header and the rejected records, byte for byte (of the UTF-8 text, where the input
//! was transcoded). `<Module>.reasons.csv` has a row for each: file, line, byte, record, key, code, message. Where two
//! inputs have the same module, the later one's number in the job is appended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use prep::Prepared;

use crate::failure::Result;
use crate::manifest::csv_field;
use crate::publish::{create_dir, publish_with};
use crate::session::io_failure;

/// The directory's name in DIR.
pub(crate) const DIR_NAME: &str = "rejects";

/// Writes the rejects of all inputs anew; removes what an earlier run has left. How many records there are.
///
/// # Errors
/// 1 where the file system fails; those of reading the inputs.
pub(crate) fn write(dir: &Path, prepared: &Prepared) -> Result<u64> {
    let rejects = dir.join(DIR_NAME);
    match fs::remove_dir_all(&rejects) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_failure(error, "remove", &rejects));
        }
        _ => {}
    }
    let total = prepared.inputs().iter().map(|input| input.rejected).sum();
    if total == 0 {
        return Ok(0);
    }
    create_dir(&rejects).map_err(|error| io_failure(error, "create", &rejects))?;
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for (number, input) in prepared.inputs().iter().enumerate() {
        let times = seen.entry(&input.module).or_insert(0);
        *times += 1;
        let name =
            if *times == 1 { input.module.clone() } else { format!("{}-{}", input.module, number + 1) };
        if input.rejected == 0 {
            continue;
        }
        let mut reasons = "file,line,byte,record,key,code,message\n".to_owned();
        let path = rejects.join(format!("{name}.csv"));
        let mut failure = None;
        let written = publish_with(&path, |file| {
            file.write_all(&line(prepared.header_bytes(number)))?;
            let mut sink = |reject: &prep::Reject, raw: &[u8]| {
                let position = reject.position;
                let row = [
                    input.path.display().to_string(),
                    position.line.to_string(),
                    position.byte.to_string(),
                    position.record.to_string(),
                    reject.key.clone().unwrap_or_default(),
                    reject.code.to_string(),
                    reject.message.clone(),
                ];
                reasons.push_str(&row.map(|field| csv_field(&field)).join(","));
                reasons.push('\n');
                file.write_all(&line(raw))
            };
            match prepared.for_each_reject(number, &mut sink) {
                Ok(written) => written,
                Err(error) => {
                    failure = Some(error);
                    Err(io::Error::other("the input cannot be read again"))
                }
            }
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        written.map_err(|error| io_failure(error, "write", &path))?;
        let path = rejects.join(format!("{name}.reasons.csv"));
        publish_with(&path, |file| file.write_all(reasons.as_bytes()))
            .map_err(|error| io_failure(error, "write", &path))?;
    }
    Ok(total)
}

/// A record with a line end; the last one of a file may have none.
fn line(raw: &[u8]) -> Vec<u8> {
    let mut line = raw.to_vec();
    if !matches!(line.last(), Some(b'\n' | b'\r')) {
        line.push(b'\n');
    }
    line
}
