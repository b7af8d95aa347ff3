use super::*;
use crate::source::ask::Took;
use crate::source::kubernetes::testing::{claim, service, world};

fn following(asks: mpsc::Sender<Ask>) -> Following {
    let spec = KubernetesSpec {
        name: "main".to_string(),
        kubeconfig: None,
        context: None,
        classes: vec![],
        default: true,
        manager: "guideway".to_string(),
        lease_namespace: "kube-system".to_string(),
        pools: vec![],
    };
    let (state, keep) = (Arc::default(), Arc::new(|_| ()));
    Following {
        cluster: Cluster { number: 0, spec, instance: "one".to_string(), asks, state, keep },
        world: world(),
        forms: Forms::default(),
        is_whole: false,
        deliver_at: None,
        queue: Queue::default(),
        keep_at: None,
    }
}

/// Delivers, and is answered. Gives whether it was all, and the names.
async fn delivered(
    following: &mut Following,
    asked: &mut mpsc::Receiver<Ask>,
    answer: Result<Took, String>,
) -> (bool, Vec<String>) {
    let answered = async {
        let ask = asked.recv().await.unwrap();
        ask.answer.send(answer).unwrap();
        (matches!(ask.deliveries[0], Delivery::Whole(_)), ask.names)
    };
    tokio::join!(following.deliver(), answered).1
}

#[test]
fn what_was_refused_as_a_whole_is_delivered_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (asks, mut asked) = mpsc::channel(4);
        let mut following = following(asks);
        let key = Key::new("shop", "web");
        let web = vec!["shop.web.80.tcp".to_string()];
        let first = delivered(&mut following, &mut asked, Ok(Took::default())).await;
        assert_eq!(first, (true, vec![]));

        following.world.apply(Change::Service(key.clone(), Some(service())));
        let vip = "203.0.113.1".parse().unwrap();
        following.world.apply(Change::Claim(vip, Some(claim("web"))));
        let too_many = Err("too many services".to_string());
        let refused = delivered(&mut following, &mut asked, too_many).await;
        assert_eq!(refused, (false, web.clone()));

        following.world.all_are_dirty();
        following.deliver().await;
        assert!(asked.try_recv().is_err(), "not at once");
        assert!(
            following.queue.is_waiting.contains(&key),
            "what has to be written waits for nothing"
        );

        following.deliver_at = Some(Instant::now());
        let again = delivered(&mut following, &mut asked, Ok(Took::default())).await;
        assert_eq!(again, (true, web));
        following.deliver().await;
        assert!(asked.try_recv().is_err(), "nothing is different");
    });
}
