//! All protocols at once.

use crate::common::{Honest, Victim};
use crate::frozen::{call_frozen_callees, talk_to_frozen_listeners};
use crate::partial::{begin_packets, record_beside_stalled_ones};

/// F-43, F-46, T-S5: what is held for voicelink, msgpack, opcode and dissonance at the same time, over TCP and QUIC, is within one budget.
#[test]
fn attacks_on_all_protocols_at_once_share_one_budget() {
    let victim = Victim::start("together");
    let honest = Honest::call(&victim);
    std::thread::scope(|scope| {
        let attacks: [fn(&Victim); 4] =
            [call_frozen_callees, talk_to_frozen_listeners, record_beside_stalled_ones, begin_packets];
        for attack in attacks {
            let victim = &victim;
            scope.spawn(move || attack(victim));
        }
    });
    assert!(honest.goes_on());
    victim.unharmed(honest);
}
