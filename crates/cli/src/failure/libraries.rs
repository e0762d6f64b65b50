//! The libraries' errors as failures: an exit code by kind and a hint. The matches are exhaustive, so a new kind of
//! error does not compile until its exit code is decided here.

use super::{Failure, Problem};
use crate::exit_code::ExitCode;

impl From<prep::Error> for Failure {
    fn from(error: prep::Error) -> Failure {
        Failure::from(vec![error])
    }
}

/// Of several exit codes the one that has to be dealt with first counts.
impl From<Vec<prep::Error>> for Failure {
    fn from(errors: Vec<prep::Error>) -> Failure {
        const FIRST: [ExitCode; 4] =
            [ExitCode::Unexpected, ExitCode::Journal, ExitCode::Usage, ExitCode::Input];
        let codes: Vec<ExitCode> = errors.iter().map(|error| exit_of(error.kind())).collect();
        let exit = FIRST.into_iter().find(|code| codes.contains(code)).unwrap_or(ExitCode::Unexpected);
        let problems = errors
            .into_iter()
            .map(|error| {
                let hint = hint_of(error.kind());
                let problem = Problem::new(error);
                match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            })
            .collect();
        Failure::many(exit, problems)
    }
}

impl From<upload::Error> for Failure {
    fn from(mut error: upload::Error) -> Failure {
        let exit = match error.kind {
            upload::ErrorKind::ChunkRefused | upload::ErrorKind::RunRefused => ExitCode::Refused,
            upload::ErrorKind::Auth => ExitCode::Auth,
            upload::ErrorKind::Stopped { .. } => ExitCode::Stopped,
            upload::ErrorKind::Config => ExitCode::Usage,
            // The owner knows why and says so itself.
            upload::ErrorKind::Witness | upload::ErrorKind::Io => ExitCode::Unexpected,
        };
        let hint = error.hint.take();
        let failure = Failure::new(exit, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn exit_of(kind: &prep::ErrorKind) -> ExitCode {
    use prep::ErrorKind as Kind;
    match kind {
        Kind::NotFound
        | Kind::NotAFile
        | Kind::PermissionDenied
        | Kind::ColumnMissing { .. }
        | Kind::NoKey { .. }
        | Kind::DelimiterUnclear { .. }
        | Kind::UnknownEncoding(_) => ExitCode::Usage,
        Kind::Empty
        | Kind::HeaderBlankName { .. }
        | Kind::HeaderDuplicateName { .. }
        | Kind::HeaderTooWide { .. }
        | Kind::HeaderDelimiterInName { .. }
        | Kind::HeaderBytes(_)
        | Kind::HeaderTooLarge { .. }
        | Kind::ForeignEncoding { .. }
        | Kind::Malformed { .. }
        | Kind::BadGzip(_)
        | Kind::TooManyRecords { .. } => ExitCode::Input,
        Kind::Changed => ExitCode::Journal,
        Kind::Read(_) | Kind::Spill(_) | Kind::Archive(_) | Kind::Threads(_) => ExitCode::Unexpected,
    }
}

fn hint_of(kind: &prep::ErrorKind) -> Option<String> {
    use prep::ErrorKind as Kind;
    let text = match kind {
        Kind::NotFound => "check the path; paths in a job file are relative to the job file",
        Kind::NotAFile => "name a regular file: inputs are read more than once",
        Kind::PermissionDenied => "let this user read the file, as with chmod u+r",
        Kind::Empty => "export it again: a file without records still has its header line",
        Kind::HeaderBlankName { .. } => "give the column a name, or remove it from every record",
        Kind::HeaderDuplicateName { .. } => "rename one of the two columns",
        Kind::HeaderTooWide { .. } => "remove columns that are not to be imported",
        Kind::HeaderDelimiterInName { .. } => {
            "rename the column: Zoho finds the delimiter from the header line"
        }
        Kind::HeaderBytes(_) => "export the file as UTF-8 CSV",
        Kind::HeaderTooLarge { .. } => "shorten the column names, or raise --max-csv-bytes",
        Kind::ColumnMissing { nearest, header, .. } => {
            return Some(of_missing_column(nearest.as_deref(), header));
        }
        Kind::NoKey { .. } => "name it in the job file: key for the parent, parent_key for a child",
        Kind::DelimiterUnclear { .. } => "name it beside the csv in the job file, as in delimiter = \";\"",
        Kind::ForeignEncoding { .. } => {
            "name the encoding in the job file, as in encoding = \"utf-16le\", or export the file as UTF-8 CSV"
        }
        Kind::Malformed { .. } => "name the encoding that the file really has, or mend the byte",
        Kind::BadGzip(_) => "copy or export the file again: it is damaged or cut short",
        Kind::UnknownEncoding(_) => "use a label of the WHATWG Encoding Standard, as in windows-1252",
        Kind::Changed => "leave the inputs as they are until the run is done; then run it again",
        Kind::TooManyRecords { .. } => "split the file into several [[import]]s",
        Kind::Spill(_) => "make room in the output directory or, for check and plan, in $TMPDIR",
        Kind::Read(_) | Kind::Archive(_) | Kind::Threads(_) => return None,
    };
    Some(text.to_owned())
}

fn of_missing_column(nearest: Option<&str>, header: &[String]) -> String {
    const MOST: usize = 12;
    if let Some(nearest) = nearest {
        return format!("did you mean `{nearest}`?");
    }
    let shown: Vec<String> =
        header.iter().take(MOST).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = if header.len() > MOST { format!(" and {} more", header.len() - MOST) } else { String::new() };
    format!("the columns are {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use prep::{Error, ErrorKind};

    use super::*;

    #[test]
    fn of_several_errors_the_one_to_be_dealt_with_first_gives_the_exit_code() {
        let exit = |kinds: Vec<ErrorKind>| {
            Failure::from(kinds.into_iter().map(|kind| Error::new(kind, "a.csv")).collect::<Vec<_>>()).exit()
        };
        assert_eq!(exit(vec![ErrorKind::Empty]), ExitCode::Input);
        assert_eq!(exit(vec![ErrorKind::Empty, ErrorKind::NotFound]), ExitCode::Usage);
        let io = std::io::Error::other("bad sector");
        assert_eq!(
            exit(vec![ErrorKind::Empty, ErrorKind::NotFound, ErrorKind::Read(io)]),
            ExitCode::Unexpected
        );
        assert_eq!(exit(vec![ErrorKind::Changed]), ExitCode::Journal);
    }
}
