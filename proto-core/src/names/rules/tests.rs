//! Which names are valid.
use super::*;
use NameError as E;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// F-05: what people are called, in their own writing.
#[test]
fn honest_names_will_do() {
    for name in [
        "bob",
        "Bob the Builder",
        "[KGB] x_sniper_x!",
        "a:b|c",
        "?",
        "Zoë 🎧",
        "José",
        "Jose\u{301}",
        "O\u{2019}Brien",
        "Nguyễn Văn Đức",
        "Łukasz Żółć",
        "Вася",
        "KGB_Вася",
        "Ann и Вася",
        "Αλέξης",
        "Ս\u{587}ակ",
        "שלום",
        "צה״ל",
        "שָׁלוֹם",
        "محمد",
        "می\u{200c}خواهم",
        "علی\u{200c}رضا",
        "خانه\u{200c}ای",
        "سارا ۱۲",
        "हिन्दी",
        "क्\u{200d}ष",
        "श्री",
        "র\u{200d}্যাচেল",
        "ශ්\u{200d}රී ලංකා",
        "தமிழ்",
        "น้ำฝน",
        "สวัสดี",
        "ລາວ",
        "မြွှောင့်",
        "ខ្មែរ",
        "བོད་ཡིག",
        "김철수",
        "\u{1100}\u{1175}\u{11b7}",
        "ㅋㅋ",
        "山田 太郎",
        "トム・ハンクス",
        "ﾀﾛｳ",
        "ｂｏｂ",
        "K太郎ちゃん",
        "约翰·史密斯",
        "ᏣᎳᎩ",
        "ᠮᠣᠩᠭᠣᠯ",
        "❤",
        "❤\u{fe0f}",
        "Ann ❤\u{fe0f}\u{200d}🔥",
        "👨\u{200d}👩\u{200d}👧\u{200d}👦",
        "👩🏽\u{200d}🚀",
        "🕵🏽\u{200d}♂\u{fe0f}",
        "🏳\u{fe0f}\u{200d}🌈",
        "👍🏽 🇩🇪🇫🇷",
        "1\u{fe0f}\u{20e3}",
        "★ann★ ♪",
        "✿ ツ ◕",
    ] {
        assert_eq!(check_name(name.as_bytes()), Ok(name), "{name}");
        let canonical = canonical_name(name);
        assert_eq!(check_name(canonical.as_bytes()), Ok(&*canonical), "{name}");
    }
}

/// F-05: what cannot be seen, or looks like something else.
#[test]
fn invisible_and_lookalike_names_will_not_do() {
    for (name, error) in [
        ("", E::Empty),
        (" ", E::Blank),
        (" bob", E::Blank),
        ("bob ", E::Blank),
        ("b  ob", E::Blank),
        ("é ", E::Blank),
        ("bell\u{7}", E::Control('\u{7}')),
        ("a\nb", E::Control('\n')),
        ("é\n", E::Control('\n')),
        ("é\u{85}", E::Control('\u{85}')),
        ("bob\u{fe0f}", E::Stray('\u{fe0f}')),
        ("bob\u{fe0e}", E::Stray('\u{fe0e}')),
        ("❤\u{fe0e}", E::Stray('\u{fe0e}')),
        ("bob\u{e0100}", E::Stray('\u{e0100}')),
        ("b\u{34f}ob", E::Invisible('\u{34f}')),
        ("\u{2800}", E::Invisible('\u{2800}')),
        ("b\u{a0}ob", E::Invisible('\u{a0}')),
        ("\u{a0}", E::Invisible('\u{a0}')),
        ("\u{3000}", E::Invisible('\u{3000}')),
        ("山田\u{3000}太郎", E::Invisible('\u{3000}')),
        ("bob\u{1d173}", E::Invisible('\u{1d173}')),
        ("\u{202e}evil", E::Invisible('\u{202e}')),
        ("bob\u{200e}", E::Invisible('\u{200e}')),
        ("hb\u{200b}", E::Invisible('\u{200b}')),
        ("\u{2028}", E::Invisible('\u{2028}')),
        ("bob\u{ad}", E::Invisible('\u{ad}')),
        ("\u{3164}", E::Invisible('\u{3164}')),
        ("\u{ffa0}", E::Invisible('\u{1160}')),
        ("\u{115f}bob", E::Invisible('\u{115f}')),
        ("ក\u{17b5}", E::Invisible('\u{17b5}')),
        ("bob\u{180e}", E::Invisible('\u{180e}')),
        ("bob\u{feff}", E::Invisible('\u{feff}')),
        ("bob\u{e0041}", E::Invisible('\u{e0041}')),
        ("\u{13441}", E::Invisible('\u{13441}')),
        ("bob\u{1680}", E::Invisible('\u{1680}')),
        ("bob\u{200d}", E::Stray('\u{200d}')),
        ("b\u{200c}ob", E::Stray('\u{200c}')),
        ("\u{200d}🔥", E::Stray('\u{200d}')),
        ("🔥\u{200d}", E::Stray('\u{200d}')),
        ("محمد\u{200c}رضا", E::Stray('\u{200c}')),
        ("م\u{200c}", E::Stray('\u{200c}')),
        ("क\u{94d}\u{200d}", E::Stray('\u{200d}')),
        ("\u{208f}", E::Invisible('\u{208f}')),
        ("\u{301}bob", E::Mark('\u{301}')),
        ("a \u{301}", E::Mark('\u{301}')),
        ("bob\u{338}\u{338}", E::Mark('\u{338}')),
        ("x\u{338}\u{32d}\u{330}\u{302}\u{304}", E::Mark('\u{304}')),
        ("i\u{307}", E::Mark('\u{307}')),
        ("𝐛𝐨𝐛", E::Lookalike('𝐛')),
        ("ⓑob", E::Lookalike('ⓑ')),
        ("ﬁn", E::Lookalike('ﬁ')),
        ("b\u{43e}b", E::Mixed('\u{43e}')),
        ("\u{430}nn", E::Mixed('n')),
        ("b\u{3bf}b", E::Mixed('\u{3bf}')),
        ("bob\u{5d0}", E::Mixed('\u{5d0}')),
        ("a\u{2013}b", E::Disallowed('\u{2013}')),
        ("bob\u{2758}", E::Disallowed('\u{2758}')),
        ("b\u{b7}", E::Disallowed('\u{b7}')),
        ("م\u{640}م", E::Disallowed('\u{640}')),
        ("١۱", E::Disallowed('۱')),
        ("🏽", E::Disallowed('🏽')),
        ("🇩", E::Disallowed('🇩')),
        ("\u{e000}", E::Invisible('\u{e000}')),
        ("\u{fffd}", E::Disallowed('\u{fffd}')),
        ("a\u{1100}", E::Disallowed('\u{1100}')),
        ("bob\u{20dd}", E::Disallowed('\u{20dd}')),
    ] {
        assert_eq!(check_name(name.as_bytes()), Err(error), "{name:?}");
    }
    assert_eq!(check_name(b"a\xff"), Err(E::NotUtf8 { offset: 1 }));
    assert_eq!(check_name(&[b'a'; 256]), Err(E::TooLong { len: 256, max: 255 }));
    // 85 of three bytes, each of which is two in the canonical form.
    let grows = "\u{958}".repeat(85);
    assert_eq!(check_name(grows.as_bytes()), Err(E::TooLong { len: 510, max: 255 }));
}

/// F-05: what a program gives names to may be called anything that can be seen.
#[test]
fn labels_show_as_they_are() {
    for label in
        ["", "Global", "Team: Red \u{2013} squad ½ (Müller\u{2019}s)", "ทีม", "b\u{43e}b", "1.2.3.4", "a  b"]
    {
        assert_eq!(check_label(label.as_bytes()), Ok(label));
    }
    for (label, error) in [
        ("a\n", E::Control('\n')),
        ("room\u{200b}", E::Invisible('\u{200b}')),
        ("room\u{fe0f}", E::Stray('\u{fe0f}')),
        ("\u{301}room", E::Mark('\u{301}')),
        (" room", E::Blank),
        ("room\u{a0}", E::Blank),
    ] {
        assert_eq!(check_label(label.as_bytes()), Err(error));
    }
    assert!(check_label(b"\xff").is_err() && check_label(&[b'a'; 256]).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let said = |name: &str| check_name(name.as_bytes()).unwrap_err().to_string();
    assert_eq!(said("bob\u{200b}"), "the name holds U+200B, which cannot be seen");
    assert_eq!(said("a\n\u{e9}"), "the name holds U+000A, a control character");
    assert_eq!(said("bob "), "the name begins or ends with a blank, or has two in a row");
    assert_eq!(said(&"x".repeat(300)), "the name has 300 bytes, at most 255 expected");
}

/// F-05: one form for all that are the same.
#[test]
fn names_have_one_form() {
    for (one, other) in [
        ("Jos\u{e9}", "Jose\u{301}"),
        ("ｂｏｂ", "bob"),
        ("ﾀﾛｳ", "タロウ"),
        ("ｶﾞ", "ガ"),
        ("김", "\u{1100}\u{1175}\u{11b7}"),
        ("O'Brien", "O\u{2019}Brien"),
        ("❤", "❤\u{fe0f}"),
        ("🔥\u{fe0f}", "🔥"),
        ("1\u{20e3}", "1\u{fe0f}\u{20e3}"),
        ("\u{212b}", "Å"),
        ("👨\u{200d}❤\u{200d}👨", "👨\u{200d}❤\u{fe0f}\u{200d}👨"),
        ("🕵🏽\u{200d}♂", "🕵🏽\u{200d}♂\u{fe0f}"),
    ] {
        assert_eq!(canonical_name(one), canonical_name(other));
    }
    for (one, other) in [("bob", "Bob"), ("bob", "b\u{43e}b"), ("Jose", "José"), ("❤", "❤\u{fe0e}")] {
        assert_ne!(canonical_name(one), canonical_name(other));
    }
}

/// F-13: what would be taken for an address.
#[test]
fn addresses_are_told_from_names() {
    for name in [
        "192.0.2.7",
        "192.0.2.7:40000",
        "192.000.002.007:99999",
        "300.1.1.1",
        "192.0.2.7:",
        "192.O.2.7:4OOOO",
        "l92.0.2.7",
        "192.0.2.7 :40000",
        "１９２．０．２．７：４００００",
        "::1",
        "[::1]:40000",
        "[::1]",
        "[::1",
        "2001:db8::1",
        "2001:db8::1:40000",
        "2001:db8:0:0:0:0:0:1:40000",
        "[2001:DB8:0:0:0:0:0:1]:40000",
        "::ffff:192.0.2.7",
        "[::ffff:192.0.2.7]:40000",
        "fe80::1%eth0",
        "[fe80::1%2]:40000",
    ] {
        assert!(is_address_like(name), "{name}");
    }
    for name in [
        "",
        "bob",
        "1.2.3",
        "1.2.3.4.5",
        "v1.2.3.4",
        "bob:40000",
        "[KGB]",
        "a:b",
        "12:30",
        "R2.D2",
        "1.2.3.4 bob",
    ] {
        assert!(!is_address_like(name), "{name}");
    }
}

/// Every class of `Cf` and of what shows nothing, by the tables of Unicode: none of them will do.
#[test]
fn no_name_of_one_hidden_character_will_do() {
    for c in ('\0'..='\u{1ffff}').chain('\u{e0000}'..='\u{e1000}') {
        use GeneralCategory as G;
        let hidden = crate::text::is_hidden(c);
        match c.general_category() {
            G::Control | G::LineSeparator | G::ParagraphSeparator | G::PrivateUse => assert!(hidden),
            G::Format => {
                assert!(hidden || crate::text::is_sign(c) || matches!(c, ZWJ | ZWNJ), "{:x}", u32::from(c))
            }
            _ => {}
        }
        if hidden || c.is_whitespace() || is_blank(c) || crate::text::is_sign(c) {
            for name in [c.to_string(), std::format!("a{c}"), std::format!("ห{c}ห")] {
                let fine = c == ' ' && name.starts_with('ห');
                assert_eq!(check_name(name.as_bytes()).is_ok(), fine, "{:x}", u32::from(c));
            }
        }
    }
}

/// Characters that the rules know by name are met often enough.
fn characters() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        any::<char>(),
        proptest::char::range('a', 'z'),
        proptest::char::range('\u{300}', '\u{36f}'),
        proptest::char::range('\u{600}', '\u{6ff}'),
        proptest::char::range('\u{900}', '\u{97f}'),
        proptest::char::range('\u{1100}', '\u{11ff}'),
        proptest::char::range('\u{1f1e6}', '\u{1f1ff}'),
        proptest::char::range('\u{1f3f0}', '\u{1f4ff}'),
        proptest::char::range('\u{2600}', '\u{27bf}'),
        proptest::char::range('\u{ff01}', '\u{ffee}'),
        proptest::sample::select(Vec::from([
            '1',
            '#',
            ' ',
            ZWJ,
            ZWNJ,
            EMOJI_STYLE,
            '\u{fe0e}',
            KEYCAP,
            '\u{2019}'
        ])),
    ];
    proptest::collection::vec(c, 0..12).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    /// F-05: every name that is accepted is stable in its canonical form, accepted there too, and shows as it is.
    #[test]
    fn what_will_do_is_stable(name in characters()) {
        let canonical = canonical_name(&name);
        prop_assert_eq!(canonical_name(&canonical), &*canonical);
        prop_assert_eq!(canonical.nfc().collect::<String>(), &*canonical);
        if canonical.len() <= MAX_NAME_LEN && name.len() <= MAX_NAME_LEN {
            prop_assert_eq!(check_name(name.as_bytes()).is_ok(), check_name(canonical.as_bytes()).is_ok());
        }
        if check_name(name.as_bytes()).is_ok() {
            let decomposed: String = name.nfd().collect();
            prop_assert_eq!(canonical_name(&decomposed), &*canonical);
            prop_assert!(check_name(decomposed.as_bytes()).is_ok() || decomposed.len() > MAX_NAME_LEN);
            prop_assert_eq!(crate::Untrusted::new(&*canonical).to_string(), &*canonical);
        }
    }

    #[test]
    fn anything_can_be_asked(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = check_name(&name);
        let _ = is_address_like(&String::from_utf8_lossy(&name));
    }
}
