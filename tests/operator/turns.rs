//! Cycles that only wait leave their turn to others.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use whetstone::api::AgentOptimization;
use whetstone::api::status::Phase;

use super::cluster::{block_on, eventually};
use super::operator::{SHOP, Shop};

/// What a provider does with every call.
#[derive(Clone, Copy)]
enum Manner {
    /// It says that it has too much to do, and to come back in five minutes.
    Later,
    /// It says nothing.
    Silent,
}

/// A provider that never answers; how often it was asked.
fn provider(manner: Manner) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), count) = (stream, Arc::clone(&count)) else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let (mut line, mut length) = (String::new(), 0);
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        line.clear();
                    }
                    if line.is_empty() || reader.by_ref().take(length).read_to_end(&mut Vec::new()).is_err() {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    match manner {
                        Manner::Silent => std::thread::sleep(Duration::from_mins(10)),
                        Manner::Later => {
                            let answer =
                                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 299\r\ncontent-length: 2\r\n\r\n{}";
                            if stream.write_all(answer.as_bytes()).is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    (address, asked)
}

/// The resource of a shop under another name, with another provider.
fn resource(shop: &Shop, name: &str, provider: SocketAddr) -> Value {
    let change = json!({"spec": {"models": shop.models(
        &json!({"baseURL": format!("http://{provider}/v1")}),
        &json!({"baseURL": format!("http://{provider}")}),
    ), "promotion": {"target": {"configMap": format!("{name}-live")}}}});
    let mut resource = shop.resource(&change);
    resource["metadata"]["name"] = json!(name);
    resource
}

fn apply(shop: &Shop, object: &Value) {
    let api: Api<AgentOptimization> = shop.namespace.api();
    let name = object["metadata"]["name"].as_str().unwrap();
    block_on(api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(object))).unwrap();
}

/// How long the cycle of a good shop takes beside so many objects of another namespace at a provider.
fn beside(manner: Manner, objects: usize) -> Duration {
    let (hostile, good) = (Shop::open("waits"), Shop::open("good"));
    let (provider, asked) = provider(manner);
    let operator =
        good.operator_with(&["--namespace", hostile.namespace.name(), "--allow-endpoint", &provider.to_string()], &[]);
    for number in 0..objects {
        apply(&hostile, &resource(&hostile, &format!("waits-{number}"), provider));
    }
    eventually("all turns that may be are with those who wait", Duration::from_mins(1), || {
        let is_taken = asked.load(Ordering::SeqCst) > 0 && operator.metric("whetstone_cycles_queued") > 0.0;
        is_taken.then_some(())
    });
    let began = Instant::now();
    good.apply(&json!({}));
    good.until_served("v2");
    let took = began.elapsed();
    // None of those who wait has been given up, and nobody is told to be anything else.
    let api: Api<AgentOptimization> = hostile.namespace.api();
    let running = block_on(api.list(&kube::api::ListParams::default())).unwrap().into_iter();
    let running = running.filter(|object| {
        let cycle = object.status.as_ref().and_then(|status| status.cycle.as_ref());
        cycle.is_some_and(|cycle| cycle.waiting.is_none())
    });
    assert_eq!(running.count(), objects);
    operator.stop();
    took
}

#[test]
fn a_namespace_whose_provider_asks_to_come_back_later_holds_nobody_up() {
    let took = beside(Manner::Later, 12);
    assert!(took < Duration::from_secs(45), "{took:?}");
}

#[test]
fn a_namespace_whose_provider_is_silent_holds_nobody_up() {
    let took = beside(Manner::Silent, 12);
    assert!(took < Duration::from_secs(45), "{took:?}");
}

#[test]
fn a_cycle_that_waits_for_its_provider_stops_at_once_and_asks_nothing_more() {
    let shop = Shop::open("stops");
    let (provider, asked) = provider(Manner::Later);
    let operator = shop.operator_with(&["--allow-endpoint", &provider.to_string()], &[]);
    apply(&shop, &resource(&shop, SHOP, provider));
    eventually("it waits, without a turn", Duration::from_mins(1), || {
        (operator.metric("whetstone_cycles_parked") > 0.0).then_some(())
    });
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0);
    shop.patch(&json!({"spec": {"suspend": true}}));
    shop.until("it is suspended", |status| status.phase == Some(Phase::Suspended));
    eventually("nothing waits any more", Duration::from_secs(20), || {
        (operator.metric("whetstone_cycles_parked") == 0.0).then_some(())
    });
    // And it goes on when it may, at once.
    shop.patch(&json!({"spec": {"suspend": false, "models": shop.models(&json!({}), &json!({}))}}));
    eventually("v2 is in the target", Duration::from_mins(1), || {
        let data = shop.config_map(&format!("{SHOP}-live"))?.data?;
        (data.get("version")? == "v2").then_some(())
    });
    assert_eq!(asked.load(Ordering::SeqCst), before, "calls that waited have gone out");
    operator.stop();
}
