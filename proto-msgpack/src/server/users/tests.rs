//! Tests of the tables of users.
use super::lost::is_same;
use super::*;
use crate::server::RateUse;

const fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

const fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

const HOME: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

fn add(lost_logins: &mut LostLogins, n: u32, name: &str, token: u8, from: Option<IpAddr>, until: u64) {
    let (violations, bucket) = (voxwire_core::Violations::new(at(0)), Bucket::default());
    let rate_use = RateUse { violations, requests: bucket, voice: bucket };
    let (username, requests_only, received) = (name.as_bytes().into(), false, 0);
    let lost = Lost { username, requests_only, call: None, from, received, rate_use };
    lost_logins.add(peer(n), [token; 32], lost, at(until));
}

#[test]
fn a_lost_log_in_is_taken_up_once_with_its_token_by_its_name_from_its_address_in_time() {
    let mut lost_logins = LostLogins::new(2);
    let released = &mut Vec::new();
    add(&mut lost_logins, 1, "ann", 1, Some(HOME), 60);
    add(&mut lost_logins, 2, "bob", 2, Some(HOME), 61);
    add(&mut lost_logins, 3, "cat", 3, None, 62);
    assert!(lost_logins.take(&[3; 32], b"cat", None, released).is_none(), "there is room for two");
    assert!(lost_logins.take(&[1; 32], b"bob", Some(HOME), released).is_none());
    assert!(lost_logins.take(&[1; 32], b"ann", None, released).is_none());
    assert!(
        lost_logins.take(&[1; 32], b"ann", Some(HOME), released).is_some_and(|(lost, _)| lost == peer(1))
    );
    assert!(lost_logins.take(&[1; 32], b"ann", Some(HOME), released).is_none());
    // What is taken up leaves room, and no deadline.
    assert_eq!(lost_logins.next(), Some(at(61)));
    add(&mut lost_logins, 3, "cat", 3, None, 62);
    assert!(lost_logins.expire(at(61)).is_empty());
    assert!(lost_logins.take(&[2; 32], b"bob", Some(HOME), released).is_none());
    assert!(lost_logins.take(&[3; 32], b"cat", None, released).is_some());
    assert_eq!(lost_logins.next(), None);
}

#[test]
fn connections_are_known_while_a_log_in_from_their_address_is_awaited() {
    let mut lost_logins = LostLogins::new(10);
    let released = &mut Vec::new();
    assert!(!lost_logins.arrive(peer(7), HOME));
    add(&mut lost_logins, 1, "ann", 1, Some(HOME), 60);
    add(&mut lost_logins, 2, "bob", 2, Some(HOME), 61);
    for n in 7..10 {
        assert!(lost_logins.arrive(peer(n), HOME));
    }
    lost_logins.depart(peer(8), HOME);
    assert!(lost_logins.take(&[2; 32], b"bob", Some(HOME), released).is_some());
    assert!(released.is_empty(), "ann is still awaited");
    assert_eq!(lost_logins.expire(at(60)), [peer(7), peer(9)]);
    assert!(!lost_logins.arrive(peer(7), HOME));
}

#[test]
fn of_several_with_the_same_token_each_is_taken_up() {
    let mut lost_logins = LostLogins::new(10);
    for n in [1, 2] {
        add(&mut lost_logins, n, "ann", 1, Some(HOME), 60);
    }
    let mut lost = [1, 2].map(|_| lost_logins.take(&[1; 32], b"ann", Some(HOME), &mut Vec::new()).unwrap().0);
    lost.sort();
    assert_eq!(lost, [peer(1), peer(2)]);
}

#[test]
fn what_has_been_sent_is_remembered_behind_a_log_out() {
    let mut users = Users::new(false);
    let rate = Rate { per_second: 10, burst: 100 };
    assert!(users.may_send(at(0), rate, b"ann", 1000), "all at once, however long");
    assert!(!users.may_send(at(0), rate, b"ann", 1));
    users.add(b"ann", peer(1), [1; 32], None);
    users.remove(b"ann", peer(1));
    assert!(!users.may_send(at(0), rate, b"ann", 1));
    assert!(users.may_send(at(1), rate, b"ann", 10));
    // And no longer than it says anything.
    for n in 0..1000_u32 {
        assert!(users.may_send(at(100), rate, &n.to_be_bytes(), 1));
    }
    assert!(users.may_send(at(101), rate, b"bob", 1));
    for n in 0..200_u32 {
        assert!(users.may_send(at(200), rate, &n.to_be_bytes(), 1));
    }
    assert!(users.sent.by_name.len() < 1100, "{}", users.sent.by_name.len());
}

#[test]
fn digests_are_compared_as_a_whole() {
    let one = [7; 32];
    assert!(is_same(&one, &one));
    for at in 0..32 {
        let mut other = one;
        other[at] ^= 1;
        assert!(!is_same(&one, &other));
    }
}
