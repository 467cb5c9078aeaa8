//! Summaries, and finding a device again.
use super::*;

/// F-55: what was passed over in a jump is among what was lost, and the clock is shown with how well it is known.
#[test]
fn f_55_the_summary_says_what_was_lost_and_how_sure_it_is() {
    use voxwire_core::Instant as Moment;
    use voxwire_syfala::stream::Drift;
    let said = |heard: StreamStats, drift: Option<DriftEstimate>| {
        let lines = Arc::new(Mutex::new(String::new()));
        let kept = lines.clone();
        let report = Report::new(false, false).through(move |line| kept.lock().unwrap().push_str(&line));
        let format = Format::STANDARD;
        let spread = Spread::default;
        Summary {
            set_up: Duration::ZERO,
            sent: 1,
            heard,
            arrivals: spread(),
            round_trips: spread(),
            drift,
            format,
            left_out: Duration::ZERO,
            said: Vec::new(),
            came: Vec::new(),
        }
        .print(&report);
        core::mem::take(&mut *lines.lock().unwrap())
    };
    let mut heard = StreamStats::default();
    (heard.messages, heard.jumped, heard.silence) = (9, 192_000, 8);
    let text = said(heard, None);
    assert!(text.contains("192008 bytes lost"), "{text}");
    assert!(text.contains("0.500 s of it passed over in jumps"), "{text}");
    assert!(text.contains("clock beside ours: not known yet"), "{text}");
    let mut drift = Drift::new(&Format::STANDARD);
    for n in 0..100_000_u64 {
        drift.observe(Moment::from_nanos(n * 999_988), n * 384);
    }
    let text = said(heard, drift.estimate());
    assert!(text.contains("clock beside ours: +12.0 ± 0.1 ppm"), "{text}");
}

/// Every loss begins with a short pause, also after earlier ones; and the reason is not lost.
#[tokio::test]
async fn every_loss_is_looked_after_anew_and_says_why_it_failed() {
    for _ in 0..3 {
        let mut attempts = 0;
        let find = async || {
            attempts += 1;
            Err(failed!("other streams"))
        };
        // The first pause is at most half a second, the third at least one.
        let error = look_again(Duration::from_millis(900), find).await.unwrap_err();
        assert_eq!(error.to_string(), "not back within 0.9 s: other streams");
        assert!(attempts >= 2, "{attempts}");
    }
    let error = look_again(Duration::from_millis(10), async || core::future::pending().await).await;
    assert_eq!(error.unwrap_err().to_string(), "not back within 0.01 s");
}
