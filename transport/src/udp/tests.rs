use super::batch::{DatagramBatch, run};
use super::datagram::{Destination, Path, Send};
use super::socket::Udp;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::sync::atomic::Ordering::Relaxed;
use voxwire_core::FrameId;

async fn receive(socket: &Udp, count: usize) -> Vec<Vec<u8>> {
    let (mut received, mut got) = (socket.buffers(), Vec::new());
    while got.len() < count {
        let some = poll_fn(|cx| socket.poll_recv(cx, &mut received));
        tokio::time::timeout(core::time::Duration::from_secs(5), some).await.expect("within 5 s").unwrap();
        got.extend(received.iter().map(|(datagram, _)| datagram.to_vec()));
    }
    got
}

#[tokio::test]
async fn many_datagrams_reach_their_destinations_whole_however_they_are_put_together() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let sender = vec![Udp::bind(address).unwrap()];
        let receivers: Vec<Udp> = (0..3).map(|_| Udp::bind(address).unwrap()).collect();
        poll_fn(|cx| sender[0].poll_send_ready(cx)).await.unwrap();
        for (gso, plain) in [(true, false), (true, true), (false, false), (false, true)] {
            if !gso {
                sender[0].port.gso.store(false, Relaxed);
            }
            let mut batch = DatagramBatch::default();
            let mut expected = vec![Vec::new(); 3];
            // Of several lengths, so that runs end; and each to all, but for some.
            for n in 0..150_u8 {
                let frame = vec![n; 20 + usize::from(n / 40)];
                for (slot, receiver) in (0..).zip(&receivers) {
                    if u32::from(n) % 7 == slot {
                        continue;
                    }
                    let head = [n, 0, 0, 0, 0, 0, 0, u8::try_from(slot).unwrap()];
                    // Half of them without.
                    let head = plain.then_some(()).map_or(Some(head), |()| None);
                    let to = receiver.local_addr().into();
                    let id = FrameId::new(n.into());
                    batch.push_shared(Destination { socket: 0, slot, to, head }, id, &frame);
                    let head = head.as_ref().map_or(&[][..], |head| head);
                    expected[usize::try_from(slot).unwrap()].push([head, &frame].concat());
                }
            }
            assert_eq!(batch.frames, 150);
            assert_eq!(batch.send(&sender), 0);
            for (receiver, expected) in receivers.iter().zip(&mut expected) {
                let mut got = receive(receiver, expected.len()).await;
                got.sort();
                expected.sort();
                assert_eq!(&got, expected, "{address} gso {gso}");
            }
            batch.clear();
            assert!(batch.is_empty());
        }
    }
}

#[test]
fn a_run_is_of_one_destination_and_one_length_but_for_its_last() {
    let to = Path::from(SocketAddr::from(([127, 0, 0, 1], 1)));
    let send = |slot, len| Send {
        destination: Destination { socket: 0, slot, to, head: Some([0; 8]) },
        start: 0,
        len,
    };
    let count = |sends: &[Send]| run(&(0..sends.len()).collect::<Vec<_>>(), sends);
    assert_eq!(count(&[send(1, 9), send(1, 9), send(1, 8), send(1, 8)]), 3);
    assert_eq!(count(&[send(1, 9), send(1, 10)]), 1);
    assert_eq!(count(&[send(1, 9), send(2, 9)]), 1);
    let elsewhere = Destination { socket: 1, ..send(1, 9).destination };
    assert_eq!(count(&[send(1, 9), Send { destination: elsewhere, ..send(1, 9) }]), 1);
    assert_eq!(count(&[send(1, 9); 100]), 64);
    assert_eq!(count(&[send(1, 2000); 100]), 32);
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_does_not_stop_the_others() {
    let sender = vec![Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap()];
    let receiver = Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    poll_fn(|cx| sender[0].poll_send_ready(cx)).await.unwrap();
    let mut batch = DatagramBatch::default();
    for (slot, to) in ["127.0.0.1:0", "[::1]:9"]
        .into_iter()
        .zip([1, 2])
        .map(|(to, slot)| (slot, to.parse::<SocketAddr>().unwrap().into()))
    {
        batch.push(Destination { socket: 0, slot, to, head: Some([0; 8]) }, b"lost");
    }
    batch.push(
        Destination { socket: 0, slot: 3, to: receiver.local_addr().into(), head: Some([1; 8]) },
        b"found",
    );
    assert_eq!(batch.send(&sender), 2);
    assert_eq!(receive(&receiver, 1).await, [b"\x01\x01\x01\x01\x01\x01\x01\x01found"]);
}

/// F-22: what is said in answer to a datagram leaves from the address that the datagram came to; one by one, and as a run.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn f_22_a_socket_of_many_addresses_answers_from_the_one_that_was_asked() {
    use core::net::IpAddr;
    for (bind, ask, peer) in [
        ("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"),
        ("[::]:0", "127.0.0.5", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let ask: IpAddr = ask.parse().unwrap();
        let server = vec![Udp::bind(bind.parse().unwrap()).unwrap()];
        let peer = Udp::bind(peer.parse().unwrap()).unwrap();
        let question = SocketAddr::new(ask, server[0].local_addr().port());
        peer.port.socket.send_to(b"?", question).await.unwrap();
        let mut received = server[0].buffers();
        poll_fn(|cx| server[0].poll_recv(cx, &mut received)).await.unwrap();
        let (_, path) = received.iter().next().unwrap();
        assert_eq!(path.local.map(|local| local.to_canonical()), Some(ask), "{bind} asked at {ask}");
        poll_fn(|cx| server[0].poll_send_ready(cx)).await.unwrap();
        let mut batch = DatagramBatch::default();
        for (slot, frame) in [(1, b"alone"), (2, b"run 1"), (2, b"run 2"), (2, b"run 3")] {
            batch.push(Destination { socket: 0, slot, to: path, head: None }, frame);
        }
        assert_eq!(batch.send(&server), 0);
        let (mut received, mut count) = (peer.buffers(), 0);
        while count < 4 {
            poll_fn(|cx| peer.poll_recv(cx, &mut received)).await.unwrap();
            for (answer, path) in received.iter() {
                assert_eq!(path.remote, question, "{answer:?} from {bind} asked at {ask}");
                count += 1;
            }
        }
        // From an address that is none of ours (any more) it goes as the system thinks best.
        let foreign = Path { local: Some(IpAddr::from([192, 0, 2, 77])), ..path };
        if !ask.is_ipv6() {
            batch.clear();
            batch.push(Destination { socket: 0, slot: 1, to: foreign, head: None }, b"anyway");
            assert_eq!(batch.send(&server), 0);
            assert_eq!(receive(&peer, 1).await, [b"anyway"]);
        }
    }
}
