//! `--restart`: the older run is set aside whole, and a new one begins.

use crate::server::{Job, Server, run};

fn changed(job: &Job) {
    let things = std::fs::read_to_string(job.path().join("things.csv")).unwrap();
    job.write("things.csv", things.replace("thing, 3", "thing, 9"));
}

#[test]
fn a_refused_run_names_restart_and_with_it_begins_anew_beside_the_old_one() {
    let job = Job::new(30);
    let server = Server::start("");
    let (code, before, stderr) = run(server.point(job.command("run").arg("--keep-archives")));
    assert_eq!(code, Some(0), "{stderr}");
    let journal = std::fs::read(job.out(false).join("journal.jsonl")).unwrap();
    changed(&job);
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("`zbulk run --restart`"), "{stderr}");

    let (code, _, stderr) = run(server.point(job.command("run").arg("--restart")));
    assert_eq!(code, Some(0), "{stderr}");
    let aside = job.out(false).join("set-aside-1");
    assert!(
        stderr.contains(&format!("the older run is set aside: it is in `{}` now", aside.display())),
        "{stderr}"
    );
    assert_eq!((job.states(false), server.kept()), (vec!["uploaded".to_owned(); 3], 6));
    assert!(!job.out(false).join("archives").exists(), "what was kept went with its run");

    // The old run is whole where it is.
    assert_eq!(std::fs::read(aside.join("journal.jsonl")).unwrap(), journal);
    let (code, status, _) = run(job.command("status").arg("--out").arg(&aside));
    assert_eq!((code, status.as_str()), (Some(0), before.as_str()));
    let (code, stdout, stderr) = run(crate::server::zbulk().arg("verify").arg("--out").arg(&aside));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("3 archives"), "{stdout}");

    // From now on the same job goes on with the new one.
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!((code, server.kept()), (Some(0), 6), "{stderr}");
    assert!(stderr.contains("nothing to send"), "{stderr}");
}

#[test]
fn where_there_is_nothing_to_set_aside_it_says_so_and_runs() {
    let job = Job::new(5);
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--restart"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("there is no run in"), "{stderr}");
    assert!(!job.out(true).join("set-aside-1").exists());
}

#[test]
fn a_damaged_journal_is_set_aside_as_it_is() {
    let job = Job::new(5);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
    let journal = job.out(true).join("journal.jsonl");
    let damaged = std::fs::read_to_string(&journal).unwrap().replacen("Things", "things", 1);
    std::fs::write(&journal, &damaged).unwrap();
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("--restart"), "{stderr}");
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--restart"]));
    assert_eq!(code, Some(0), "{stderr}");
    let aside = job.out(true).join("set-aside-1");
    assert_eq!(std::fs::read_to_string(aside.join("journal.jsonl")).unwrap(), damaged);
    assert!(aside.join("sandbox").is_dir(), "the bodies of a rehearsal belong to it");
    assert_eq!(run(job.command("verify").arg("--sandbox")).0, Some(0));
}

#[test]
fn a_wrong_input_or_a_dry_run_sets_nothing_aside() {
    let job = Job::new(25);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
    let journal = job.out(true).join("journal.jsonl");
    let before = std::fs::read(&journal).unwrap();
    let (code, stdout, stderr) = run(job.command("run").args(["--sandbox", "--restart", "--dry-run"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("3 pending"), "{stdout}");
    job.write("things.csv", "Id,Name\n1,a\n2\n");
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--restart"]));
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(std::fs::read(&journal).unwrap(), before);
    assert!(!job.out(true).join("set-aside-1").exists());
}

#[test]
fn what_goes_on_with_a_restarted_run_does_not_restart_it() {
    let job = Job::new(40);
    assert_eq!(run(&mut job.command("pack")).0, Some(0));
    let server = Server::start("[[rule]]\nfrom = 3\nto = 1000\nfault = { answer = { status = 503 } }\n");
    let (code, _, stderr) =
        run(server.point(job.command("run").args(["--restart", "--max-wait", "1s", "--concurrency", "1"])));
    assert_eq!(code, Some(5), "{stderr}");
    let last = stderr.trim_end().lines().last().unwrap();
    assert!(last.contains("run the same command again to go on: zbulk run "), "{last}");
    assert!(!last.contains("--restart"), "{last}");
    assert_eq!(job.states(false).iter().filter(|state| *state == "uploaded").count(), 2, "{stderr}");
}

#[test]
fn pack_restarts_too() {
    let job = Job::new(15);
    assert_eq!(run(&mut job.command("pack")).0, Some(0));
    let (code, _, stderr) = run(job.command("pack").args(["--restart", "--level", "0"]));
    assert_eq!(code, Some(0), "{stderr}");
    let aside = job.out(false).join("set-aside-1");
    for dir in [&aside, &job.out(false)] {
        assert_eq!(std::fs::read_dir(dir.join("archives")).unwrap().count(), 2);
        assert_eq!(run(crate::server::zbulk().arg("verify").arg("--out").arg(dir)).0, Some(0));
    }
}

#[test]
fn a_run_that_goes_on_is_not_set_aside() {
    let job = Job::new(5);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
    let lock = std::fs::File::open(job.out(true).join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--restart"]));
    assert_eq!(code, Some(8), "{stderr}");
    assert!(job.out(true).join("journal.jsonl").exists() && !job.out(true).join("set-aside-1").exists());
}
