//! Every file of `testdata/` says what it is for.

use std::path::Path;

#[test]
fn every_file_is_listed_and_every_listed_file_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let listed: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(!listed.is_empty());
    for name in &listed {
        assert!(root.join(name).is_file(), "{name} is listed and not there");
    }
    for dir in
        std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            // What a run leaves behind is no test data.
            if file.is_file() {
                let name = file.strip_prefix(&root).unwrap().display().to_string();
                assert!(listed.contains(&&name[..]), "{name} is not listed");
            }
        }
    }
}
