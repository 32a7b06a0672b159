use super::Route;
use crate::policy::{
    Built,
    testkit::{build, problems},
};

fn is_route(config: &str) -> bool {
    let (built, problems) = build::<Route>(config);
    assert_eq!(problems, [""; 0], "{config}");
    matches!(built, Some(Built::Route))
}

#[test]
fn only_the_name_of_the_destination_is_required() {
    assert!(is_route("destinationRef: {name: orders}"));
    assert!(is_route("destinationRef: {name: orders, kind: Service, namespace: ''}\ndestinationPath: /v2"));
    assert_eq!(
        problems::<Route>("destinationPath: /v2"),
        ["E config.destinationRef: the field `destinationRef` is missing"]
    );
    assert_eq!(
        problems::<Route>("destinationRef: {kind: Service}"),
        ["E config.destinationRef.name: the field `name` is missing"]
    );
}

#[test]
fn an_empty_name_is_an_error() {
    assert_eq!(
        problems::<Route>("destinationRef: {name: ''}"),
        ["E config.destinationRef.name: the name of the service is empty"]
    );
}

#[test]
fn the_kind_can_only_be_service() {
    assert_eq!(
        problems::<Route>("destinationRef: {name: orders, kind: ApiInstance}"),
        ["E config.destinationRef.kind: unknown value `ApiInstance`"]
    );
}
