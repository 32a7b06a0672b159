use super::RouteWeighted;
use crate::policy::{
    Built,
    testkit::{build, problems},
};

#[test]
fn a_route_has_a_weight_and_a_destination() {
    let config = "routes:
- {weight: 1, destinationRef: {name: canary}, destinationPath: /v2}
- {weight: '3', destinationRef: {name: stable, namespace: shop, kind: Service}}";
    let (built, problems) = build::<RouteWeighted>(config);
    assert_eq!(problems, [""; 0]);
    assert!(matches!(built, Some(Built::Route)));
}

#[test]
fn at_least_one_route_is_needed() {
    assert_eq!(
        problems::<RouteWeighted>("routes: []"),
        ["E config.routes: `routes` is empty: at least one is needed"]
    );
    assert_eq!(problems::<RouteWeighted>("{}"), ["E config.routes: the field `routes` is missing"]);
}

#[test]
fn a_weight_is_1_to_100() {
    let with = |weight: &str| {
        problems::<RouteWeighted>(&format!("routes: [{{weight: {weight}, destinationRef: {{name: a}}}}]"))
    };
    for weight in ["1", "100"] {
        assert_eq!(with(weight), [""; 0]);
    }
    for weight in ["0", "101"] {
        assert_eq!(
            with(weight),
            [format!("E config.routes[0].weight: the weight {weight} is out of range: expected 1 to 100")]
        );
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let config = "routes:
- {weight: 0, destinationRef: {name: ''}}
- {weight: 5, destinationRef: {name: ''}}";
    assert_eq!(
        problems::<RouteWeighted>(config),
        [
            "E config.routes[0].weight: the weight 0 is out of range: expected 1 to 100",
            "E config.routes[0].destinationRef.name: the name of the service is empty",
            "E config.routes[1].destinationRef.name: the name of the service is empty",
        ]
    );
}

#[test]
fn a_missing_weight_is_an_error() {
    assert_eq!(
        problems::<RouteWeighted>("routes: [{destinationRef: {name: a}}]"),
        ["E config.routes[0].weight: the field `weight` is missing"]
    );
}
