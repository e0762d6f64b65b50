//! What closed pipes and lost terminals do to commands: nothing.

use std::process::Stdio;

use crate::workbench::Workbench;

#[test]
fn a_closed_standard_error_is_no_failure() {
    let bench = Workbench::new().file("c.csv", "A\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bench.command(&["check", "--module", "Contacts", "--csv", "c.csv"]);
    // The header alone is warned of, into the closed pipe.
    let output = command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap().wait_with_output().unwrap();
    let told = bench.told(&output);
    assert_eq!(told.code, 0);
    assert!(told.out.contains("to send: 0 records"), "{}", told.out);
}

#[test]
fn help_into_a_closed_pipe_is_no_failure() {
    let bench = Workbench::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        bench.command(&["man"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let told = bench.told(&output.unwrap());
    assert_eq!((told.code, told.err.as_str()), (0, ""));
}
