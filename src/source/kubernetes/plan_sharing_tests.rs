use super::*;

#[test]
fn sharing() {
    fn shared(name: &str) -> Claim {
        Claim { share: Some("k".into()), ..claim(name) }
    }
    fn udp(service: &mut Service) {
        service.ports = vec![ServicePort {
            name: "".into(),
            transport: Transport::Udp,
            port: 80,
            node_port: None,
        }];
    }
    const ALONE: &str = "finalizers, take 203.0.113.2 of web for shop/web, \
                         status [203.0.113.2] Ready, event AddressAssigned";
    const BESIDE: &str = "finalizers, take 203.0.113.1 of web for shop/a+shop/web, \
                          status [203.0.113.1] Ready, event AddressAssigned";
    check(&[
        (
            "another protocol",
            |w, s| {
                s.wishes.share = Some("k".into());
                other(w, "a", udp);
                hold(w, "203.0.113.1", shared("a"));
            },
            BESIDE,
        ),
        (
            "the same port",
            |w, s| {
                s.wishes.share = Some("k".into());
                other(w, "a", |_| {});
                hold(w, "203.0.113.1", shared("a"));
            },
            ALONE,
        ),
        (
            "another key",
            |w, s| {
                s.wishes.share = Some("l".into());
                other(w, "a", udp);
                hold(w, "203.0.113.1", shared("a"));
            },
            ALONE,
        ),
        (
            "without a key",
            |w, _| {
                other(w, "a", udp);
                hold(w, "203.0.113.1", shared("a"));
            },
            ALONE,
        ),
        (
            "one whose ports are not known yet: claims may be told before services",
            |w, s| {
                s.wishes.share = Some("k".into());
                hold(w, "203.0.113.1", shared("a"));
            },
            ALONE,
        ),
        (
            "one that was made again, with other ports",
            |w, s| {
                s.wishes.share = Some("k".into());
                other(w, "a", |s| {
                    udp(s);
                    s.uid = "u-new".into();
                });
                hold(w, "203.0.113.1", shared("a"));
            },
            ALONE,
        ),
        (
            "a pool that it does not ask for",
            |w, s| {
                (s.wishes.share, s.wishes.pool) = (Some("k".into()), Some("web".into()));
                other(w, "a", udp);
                hold(w, "203.0.113.1", Claim { pool: "old".into(), ..shared("a") });
            },
            ALONE,
        ),
        (
            "another namespace",
            |w, s| {
                s.wishes.share = Some("k".into());
                let mut claim = shared("a");
                claim.holders[0].service = Key::new("bank", "a");
                hold(w, "203.0.113.1", claim);
            },
            ALONE,
        ),
        (
            "the address by name, with another key",
            |w, s| {
                s.wishes.addresses = vec![vip("203.0.113.1")];
                s.wishes.share = Some("l".into());
                other(w, "a", udp);
                hold(w, "203.0.113.1", shared("a"));
            },
            "finalizers, status [] AddressInUse, event AddressInUse",
        ),
    ]);
}
