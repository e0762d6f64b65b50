use super::*;
use crate::journal::fixture::{states, story};

fn text(state: &State) -> String {
    let mut bytes = Vec::new();
    let mut out = Results::new(&mut bytes);
    print_text(&mut out, state).unwrap();
    out.finish().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_table_shows_every_chunk_its_reason_and_the_sums() {
    let states = states(story());
    insta::assert_snapshot!(text(&states[0]), @r"
    archive             records  children  bytes  file_id  state
    Contacts-00001.zip        2         0      -  -        pending
    Contacts-00002.zip        2         0      -  -        pending
    Contacts-00003.zip        2         0      -  -        pending

    6 records in, 6 packed, 0 rejected; 3 chunks: 0 uploaded, 3 pending
    0 B of archives, to Zoho eu, org 808232144
    ");
    insta::assert_snapshot!(text(states.last().unwrap()), @r"
    archive              records  children  bytes  file_id             state
    Contacts-00001.zip         2         0    150  111111000001000001  uploaded
    Contacts-00002a.zip        1         0    150  -                   failed
    Contacts-00002b.zip        1         0    150  111111000001000002  uploaded
    Contacts-00003.zip         2         0    150  -                   unknown

    Contacts-00002a.zip failed: the archive was refused
    6 records in, 6 packed, 0 rejected; 4 chunks: 2 uploaded, 1 failed, 1 unknown
    600 B of archives, to Zoho eu, org 808232144; 2 attempts without an answer may have left a file there that no chunk knows
    ");
}
