//! Exchanges with a model of the kernel that loses replies, and rejects, as the kernel does.

use super::*;

const DUMP_INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;
const NLM_F_MULTIPART: u16 = libc::NLM_F_MULTI as u16;
const NLM_F_DUMP: u32 = libc::NLM_F_DUMP as u32;

/// What the kernel does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Two rules and the end, or an acknowledgement.
    Answer,
    /// The same, in two datagrams with an interrupted system call, a datagram of another process and an old reply between.
    Haltingly,
    /// The same, marked `NLM_F_DUMP_INTR`.
    Interrupted,
    /// A part, then ENOBUFS. As the rest is not read, a dump goes on.
    Loses,
    Rejects(Errno),
}

struct Scripted {
    script: VecDeque<Does>,
    incoming: VecDeque<nix::Result<(Vec<u8>, u32)>>,
    datagram: Vec<u8>,
    /// A dump that is not at its end: there is no other one on the same socket (EBUSY).
    dumping: bool,
}

/// `struct nlmsghdr` and a body.
fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((16 + body.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

const RTM_NEWRULE: u16 = 32;
const RULE: [u8; 12] = [2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];

impl Scripted {
    fn next(&mut self) -> Does {
        self.script.pop_front().expect("no further request")
    }

    /// Replies to one message.
    fn answer(&mut self, bytes: &[u8]) {
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let sequence = number(8);
        let dump = number(4) >> 16 & NLM_F_DUMP == NLM_F_DUMP;
        let rule = |flags, sequence| message(RTM_NEWRULE, NLM_F_MULTIPART | flags, sequence, &RULE);
        let error = |errno: i32| {
            let body = [&(-errno).to_ne_bytes()[..], &bytes[..16]].concat();
            message(libc::NLMSG_ERROR as u16, 0, sequence, &body)
        };
        let end = |flags| match dump {
            true => message(libc::NLMSG_DONE as u16, NLM_F_MULTIPART | flags, sequence, &[0; 4]),
            false => error(0),
        };
        let rules = |flags| if dump { [rule(flags, sequence), rule(flags, sequence)].concat() } else { Vec::new() };
        let does = if self.dumping && dump { Does::Rejects(Errno::EBUSY) } else { self.next() };
        self.dumping |= dump && matches!(does, Does::Loses);
        self.incoming.extend(match does {
            Does::Answer => vec![Ok(([rules(0), end(0)].concat(), 0))],
            Does::Haltingly => vec![
                Err(Errno::EINTR),
                Ok((end(0), 4711)),
                Ok((rule(0, sequence - 1), 0)),
                Ok((rules(0), 0)),
                Err(Errno::EINTR),
                Ok((end(0), 0)),
            ],
            Does::Interrupted => {
                vec![Ok((rules(DUMP_INTERRUPTED), 0)), Ok((end(DUMP_INTERRUPTED), 0))]
            }
            Does::Loses => vec![Ok((rules(0), 0)), Err(Errno::ENOBUFS)],
            Does::Rejects(errno) => vec![Ok((error(errno as i32), 0))],
        });
    }
}

impl Transport for Scripted {
    fn send(&mut self, bytes: &[u8], _: Expected) -> nix::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            self.answer(&rest[..length]);
            rest = &rest[length..];
        }
        Ok(())
    }

    fn receive(&mut self) -> nix::Result<Received> {
        let (bytes, sender) = self.incoming.pop_front().expect("nothing more to wait for")?;
        self.datagram = bytes;
        Ok((MsgFlags::empty(), Some(sender)))
    }

    fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    fn reopen(&mut self) -> Result<()> {
        self.incoming.clear();
        self.dumping = false;
        Ok(())
    }

    fn port(&self) -> Option<u32> {
        None
    }
}

fn socket(script: &[Does]) -> Socket {
    Socket::over(Box::new(Scripted {
        script: script.iter().copied().collect(),
        incoming: VecDeque::new(),
        datagram: Vec::new(),
        dumping: false,
    }))
}

fn dump(script: &[Does]) -> Result<usize> {
    Ok(socket(script).dump(&Request::new(libc::RTM_GETRULE, &[0; 12]), |body| Ok(Some(body.len())))?.len())
}

fn change_one(script: &[Does], kind: u16) -> Result<Result<(), Errno>> {
    Ok(socket(script).change(&[(Request::new(kind, &[0; 12]), 0)])?[0])
}

fn change(script: &[Does]) -> Result<Result<(), Errno>> {
    change_one(script, libc::RTM_NEWRULE)
}

#[test]
fn starts_over_until_a_list_is_whole() {
    use Does::*;
    for script in
        [&[Answer][..], &[Haltingly], &[Interrupted, Answer], &[Loses, Answer], &[Loses, Interrupted, Loses, Haltingly]]
    {
        assert_eq!(dump(script).unwrap(), 2);
    }
    assert_eq!(dump(&[Rejects(Errno::EPERM)]).unwrap_err().downcast_ref(), Some(&Errno::EPERM));
    let never = dump(&[Interrupted; TRIES]).unwrap_err();
    assert_eq!(never.to_string(), "the kernel's tables keep changing while they are read");
}

#[test]
fn a_change_whose_answer_was_lost_is_asked_for_again() {
    use Does::*;
    assert_eq!(change(&[Answer]).unwrap(), Ok(()));
    assert_eq!(change(&[Haltingly]).unwrap(), Ok(()));
    assert_eq!(change(&[Rejects(Errno::EEXIST)]).unwrap(), Err(Errno::EEXIST));
    assert_eq!(change(&[Loses, Answer]).unwrap(), Ok(()));
    assert_eq!(change(&[Loses, Rejects(Errno::EEXIST)]).unwrap(), Ok(()), "the lost answer was yes");
    assert_eq!(change(&[Loses, Rejects(Errno::EINVAL)]).unwrap(), Err(Errno::EINVAL));
    assert_eq!(change(&[Loses; TRIES]).unwrap_err().to_string(), "the kernel has no memory for its replies");
}

/// Each change has its own result, whatever came of those before it.
#[test]
fn changes_that_are_sent_together() {
    use Does::*;
    let changes = |script: &[Does], kind| {
        let changes = vec![(Request::new(kind, &[0; 12]), 0); 3];
        socket(script).change(&changes).unwrap()
    };
    assert_eq!(changes(&[Answer; 3], libc::RTM_NEWRULE), [Ok(()); 3]);
    let rejects = [Haltingly, Rejects(Errno::EINVAL), Answer];
    assert_eq!(changes(&rejects, libc::RTM_NEWRULE), [Ok(()), Err(Errno::EINVAL), Ok(())]);
    // What comes after the lost reply is not read: additions are sent again, removals are not.
    let exists = Rejects(Errno::EEXIST);
    assert_eq!(changes(&[Answer, Loses, Answer, exists, exists], libc::RTM_NEWRULE), [Ok(()); 3]);
    assert_eq!(
        changes(&[Answer, Loses, Answer], libc::RTM_DELRULE),
        [Ok(()), Err(Errno::ENOBUFS), Err(Errno::ENOBUFS)]
    );
    let many = vec![(Request::new(libc::RTM_NEWRULE, &[0; 12]), 0); 2 * CHANGES + 1];
    assert_eq!(socket(&vec![Answer; many.len()]).change(&many).unwrap().len(), many.len());
}

/// It may have been done: the next one that matches would be removed.
#[test]
fn a_removal_whose_answer_was_lost_is_not_repeated() {
    use Does::*;
    for kind in [libc::RTM_DELRULE, libc::RTM_DELROUTE] {
        let remove = |script: &[Does]| change_one(script, kind).unwrap();
        assert_eq!(remove(&[Answer]), Ok(()));
        assert_eq!(remove(&[Rejects(Errno::ENOENT)]), Err(Errno::ENOENT));
        assert_eq!(remove(&[Loses]), Err(Errno::ENOBUFS), "no second request");
    }
}

/// What the socket could not read, it does not read later as something else.
#[test]
fn an_answer_that_cannot_be_read_leaves_no_rest() {
    let mut socket = socket(&[Does::Haltingly, Does::Answer]);
    let request = Request::new(libc::RTM_GETRULE, &[0; 12]);
    let error = socket.dump(&request, |_| -> Result<Option<()>> { bail!("not this one") }).unwrap_err();
    assert_eq!(error.to_string(), "not this one");
    assert_eq!(socket.dump(&request, |body| Ok(Some(body.len()))).unwrap(), [12, 12]);
}

/// An answer that ends too early, or in which something else stands, is not a short list.
#[test]
fn an_unexpected_message_is_an_error() {
    let rule = message(RTM_NEWRULE, NLM_F_MULTIPART, 1, &RULE);
    let ends = |kind: i32, body: &[u8]| message(kind as u16, 0, 1, body);
    let done = ends(libc::NLMSG_DONE, &[0; 4]);
    let mut too_long = rule.clone();
    too_long[..4].copy_from_slice(&29u32.to_ne_bytes());
    let other = message(RTM_NEWRULE, 0, 2, &RULE);
    for (datagrams, expected_error) in [
        (vec![&rule, &done], None),
        (vec![&rule, &ends(libc::NLMSG_ERROR, &[0; 20])], Some("the kernel's reply ends too early")),
        (
            vec![&rule, &ends(libc::NLMSG_DONE, &(-97i32).to_ne_bytes())],
            Some("the kernel's list ends with an error: EAFNOSUPPORT: Address family not supported by protocol"),
        ),
        (vec![&ends(libc::NLMSG_DONE, &[1; 4])], Some("the kernel sent a broken netlink message")),
        (vec![&ends(libc::NLMSG_DONE, &[])], Some("the kernel sent a broken netlink message")),
        (vec![&too_long, &done], Some("the kernel sent a broken netlink message")),
        (vec![&rule, &ends(24, &RULE)], Some("the kernel replied with a message of type 24")),
        (vec![&rule, &ends(libc::NLMSG_NOOP, &[])], Some("the kernel replied with a message of type 1")),
        (vec![&rule, &other, &done], Some("the kernel replied to a request that was not made")),
        (vec![&rule], Some("no reply from the kernel")),
        (vec![&[&done[..], &rule].concat()], Some("the kernel sent a message after the end of its reply")),
    ] {
        let recorded: Vec<u8> = datagrams
            .into_iter()
            .flat_map(|datagram| [&(datagram.len() as u32).to_ne_bytes()[..], datagram].concat())
            .collect();
        let request = Request::new(libc::RTM_GETRULE, &[0; 12]);
        let listed = Socket::recorded(&recorded).dump(&request, |_| Ok(Some(())));
        assert_eq!(
            listed.map(|list| list.len()).map_err(|error| error.to_string()),
            expected_error.map_or(Ok(1), |expected_error| Err(expected_error.to_string()))
        );
    }
}
