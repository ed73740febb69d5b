use proptest::prelude::*;

use super::*;

fn list(entries: &[&str]) -> AllowList {
    AllowList::read(entries).unwrap_or_else(|error| panic!("{error}"))
}

fn check(entries: &[&str], url: &str) -> Result<(), Refusal> {
    list(entries).check(&Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")))
}

#[track_caller]
fn refused(entries: &[&str], url: &str) -> String {
    check(entries, url).expect_err(url).to_string()
}

#[test]
fn a_listed_host_may_be_asked_at_any_port_unless_one_is_listed() {
    for (entry, url) in [
        ("litellm.llm", "http://litellm.llm:4000/v1"),
        ("litellm.llm", "https://LiteLLM.llm/v1"),
        ("LiteLLM.llm.", "http://litellm.llm:4000/v1"),
        ("litellm.llm", "http://litellm.llm.:4000/v1"),
        ("litellm.llm:4000", "http://litellm.llm:4000/v1"),
        ("api.openai.com:443", "https://api.openai.com/v1"),
        ("*.svc.cluster.local", "http://a.b.svc.cluster.local/"),
        ("*.svc.cluster.local:9090", "http://prometheus.monitoring.svc.cluster.local:9090/"),
        ("*", "https://anywhere.example/"),
        ("*:443", "https://anywhere.example/"),
        ("10.96.0.7", "http://10.96.0.7:9090/"),
        ("[fd00::7]:9090", "http://[fd00::7]:9090/"),
        ("fd00::7", "http://[fd00:0::7]:9090/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
    ] {
        assert_eq!(check(&[entry], url), Ok(()), "{entry} {url}");
    }
}

#[test]
fn a_host_that_is_not_listed_is_refused_by_name() {
    for (entry, url) in [
        ("litellm.llm:4000", "http://litellm.llm:4001/v1"),
        ("litellm.llm", "http://litellm.llm.evil.example/"),
        ("*.svc.cluster.local", "http://svc.cluster.local/"),
        ("*.svc.cluster.local", "http://evilsvc.cluster.local/"),
        ("*:443", "http://anywhere.example/"),
        ("litellm.llm", "http://litellm.llm@evil.example/"),
        ("10.96.0.7", "http://10.96.0.8/"),
    ] {
        assert!(matches!(check(&[entry], url), Err(Refusal::NotListed(_))), "{entry} {url}");
    }
    insta::assert_snapshot!(refused(&[], "http://user:secret@litellm.llm:4000/v1?key=secret"), @"host litellm.llm:4000 is not in the operator's --allow-endpoint list; correct the URL, or ask the administrator of the operator to add it");
    insta::assert_snapshot!(refused(&["*"], "file:///etc/passwd"), @"file: is not supported; write an http or https URL with a host");
}

#[test]
fn metadata_services_are_refused_whatever_is_listed_and_however_they_are_written() {
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://169.254.169.254./",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://0.0.0.0:8001/",
        "http://0/",
        "http://[::]:8001/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://METADATA.google.internal./",
        "http://metadata/",
        "http://１６９.２５４.１６９.２５４/",
    ] {
        let refusal = check(&["*", "*.internal", "*.google.internal"], url);
        assert!(matches!(refusal, Err(Refusal::Forbidden { .. })), "{url}: {refusal:?}");
    }
    insta::assert_snapshot!(refused(&["*"], "http://169.254.169.254/"), @"host 169.254.169.254 is link-local, where cloud metadata services serve credentials, which no setting of the operator allows; correct the URL");
}

#[test]
fn the_operators_own_machine_must_be_spelled_out() {
    for url in ["http://localhost:8001/", "http://127.0.0.1/", "http://[::1]/", "http://a.localhost/", "http://127.1/"]
    {
        for entries in [vec!["*"], vec!["*.localhost", "*.0.0.1"], vec!["localhost:1", "127.0.0.1:1", "[::1]:1"]] {
            let Ok(list) = AllowList::read(&entries) else { continue };
            assert!(matches!(list.check(&Url::parse(url).unwrap()), Err(Refusal::Loopback(_))), "{entries:?} {url}");
        }
    }
    assert_eq!(check(&["127.0.0.1:9090"], "http://127.0.0.1:9090/"), Ok(()));
    assert_eq!(check(&["localhost"], "http://localhost:9090/"), Ok(()));
    assert_eq!(check(&["[::1]"], "http://[::1]:9090/"), Ok(()));
    insta::assert_snapshot!(refused(&["*"], "http://localhost:8001/"), @"host localhost:8001 is the operator's own machine, which only an --allow-endpoint entry for exactly this host allows; correct the URL, or ask the administrator of the operator to add it");
}

#[test]
fn entries_that_cannot_be_one_are_told_with_the_flag_and_the_forms() {
    let said = |entry: &str| entry.parse::<AllowedEndpoint>().expect_err(entry).to_string();
    insta::assert_snapshot!(said("https://llm.example/v1"), @r#"--allow-endpoint "https://llm.example/v1": an entry is a host, not a URL; write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host"#);
    insta::assert_snapshot!(said("10.0.0.0/8"), @r#"--allow-endpoint "10.0.0.0/8": it is not a host (invalid international domain name); write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host"#);
    insta::assert_snapshot!(said("llm.example:http"), @r#"--allow-endpoint "llm.example:http": the port is a number from 1 to 65535; write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host"#);
    insta::assert_snapshot!(said("llm.*.example"), @r#"--allow-endpoint "llm.*.example": a * is only allowed in place of the first labels of a name; write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host"#);
    insta::assert_snapshot!(said("*.10.0.0.1"), @r#"--allow-endpoint "*.10.0.0.1": an address has no subdomains; write it like llm.example, llm.example:4000, *.svc.cluster.local, or * for every host"#);
    insta::assert_snapshot!(said("169.254.169.254"), @r#"--allow-endpoint "169.254.169.254": is link-local, where cloud metadata services serve credentials, which is always refused; remove it"#);
    for entry in ["", ":80", "a b", "llm.example:0", "llm.example:70000", "[::1", "metadata.google.internal", "fe80::1"]
    {
        assert!(entry.parse::<AllowedEndpoint>().is_err(), "{entry:?}");
    }
}

#[test]
fn entries_are_shown_as_they_are_written() {
    for entry in ["llm.example", "llm.example:4000", "*.svc.cluster.local:9090", "*", "10.0.0.1:80", "[fd00::7]:9090"] {
        assert_eq!(entry.parse::<AllowedEndpoint>().unwrap().to_string(), entry);
    }
}

#[test]
fn a_name_is_not_followed_to_an_address_that_no_name_may_lead_to() {
    let list = list(&["*", "localhost:9090", "litellm.llm"]);
    let admits = |name: &str, address: &str| list.admits(name, address.parse().unwrap());
    assert_eq!(admits("litellm.llm", "10.96.3.4"), Ok(()));
    assert_eq!(admits("localhost", "127.0.0.1"), Ok(()));
    assert_eq!(admits("LOCALHOST.", "::1"), Ok(()));
    assert!(matches!(admits("a.localhost", "127.0.0.1"), Err(Refusal::Loopback(_))));
    insta::assert_snapshot!(admits("litellm.llm", "127.0.0.1").unwrap_err(), @"litellm.llm resolves to 127.0.0.1, the operator's own machine, which only localhost may; correct the URL, or write the address");
    insta::assert_snapshot!(admits("litellm.llm", "::ffff:169.254.169.254").unwrap_err(), @"host litellm.llm (::ffff:169.254.169.254) is link-local, where cloud metadata services serve credentials, which no setting of the operator allows; correct the URL");
}

proptest! {
    #[test]
    fn every_host_is_let_through_by_itself_and_by_the_star_alike(name in "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){1,3}", port in 1_u16..) {
        let url = Url::parse(&format!("http://{name}:{port}/")).unwrap();
        for entry in [name.clone(), format!("{name}:{port}"), "*".to_owned()] {
            prop_assert_eq!(AllowList::read([&entry]).unwrap().check(&url), Ok(()));
        }
        prop_assert!(AllowList::default().check(&url).is_err());
        let suffix = name.split_once('.').unwrap().1;
        prop_assert_eq!(AllowList::read([format!("*.{suffix}")]).unwrap().check(&url), Ok(()));
        let longer = AllowList::read([format!("*.x{suffix}")]).unwrap();
        prop_assert!(longer.check(&url).is_err());
    }

    #[test]
    fn no_way_to_write_a_link_local_address_gets_past_the_star(c in any::<u8>(), d in any::<u8>()) {
        let address = u32::from_be_bytes([169, 254, c, d]);
        let low = address & 0xffff;
        for host in [
            format!("169.254.{c}.{d}"),
            format!("{address}"),
            format!("0x{address:x}"),
            format!("0{address:o}"),
            format!("169.254.{low}"),
            format!("0xa9.0376.0x{low:x}"),
            format!("[::ffff:169.254.{c}.{d}]"),
            format!("[::ffff:a9fe:{low:x}]"),
        ] {
            let refusal = check(&["*"], &format!("http://{host}/"));
            prop_assert!(matches!(refusal, Err(Refusal::Forbidden { .. })), "{}: {:?}", host, refusal);
        }
    }

    #[test]
    fn reading_an_entry_never_panics(entry in ".{0,20}") {
        let _ = entry.parse::<AllowedEndpoint>();
    }
}
