from typing import Any

import pytest

from control_plane.store.observed_rows import subscription_row
from control_plane.store.resources import SUBSCRIPTION
from tests.unit.control_plane.services.api import PROJECT, Api, with_api
from waypost.api.control.v1 import subscription_pb2 as pb
from waypost.errors import Invalid, NotFound

PEM = "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n"


def request(**spec: Any) -> pb.CreateSubscriptionRequest:
    spec = {"endpoint": "127.0.0.1:7610", "project": PROJECT, "activation_token": "once", **spec}
    return pb.CreateSubscriptionRequest(subscription_id="s", subscription=pb.Subscription(spec=spec))  # type: ignore[arg-type]


@with_api
async def test_the_activation_token_is_kept_and_never_returned(api: Api) -> None:
    made = (await api.subscription.CreateSubscription(request())).subscription
    listed = await api.subscription.ListSubscriptions(pb.ListSubscriptionsRequest())
    assert list(listed.subscriptions) == [made]
    assert made.spec.activation_token == ""
    stored = await api.kit.resources.get(SUBSCRIPTION, "subscriptions/s")
    assert stored.message.spec.activation_token == "once"


@with_api
async def test_what_was_observed_is_its_status(api: Api) -> None:
    await api.subscription.CreateSubscription(request())
    await api.stores.observed.put([subscription_row("subscriptions/s", pb.SubscriptionStatus(sequence=7))])
    shown = (await api.subscription.GetSubscription(pb.GetSubscriptionRequest(name="subscriptions/s"))).subscription
    assert shown.status.sequence == 7
    await api.subscription.DeleteSubscription(pb.DeleteSubscriptionRequest(name="subscriptions/s"))
    with pytest.raises(NotFound):
        await api.subscription.GetSubscription(pb.GetSubscriptionRequest(name="subscriptions/s"))


@with_api
async def test_specs_that_make_no_sense_are_refused(api: Api) -> None:
    for field, spec in (
        ("endpoint", {"endpoint": ""}),
        ("endpoint", {"endpoint": "host"}),
        ("endpoint", {"endpoint": "host:0", "ca_pem": PEM}),
        ("endpoint", {"endpoint": ":7610", "ca_pem": PEM}),
        ("project", {"project": "uav"}),
        ("ca_pem", {"ca_pem": "not pem"}),
        ("ca_pem", {"endpoint": "10.0.0.7:7610"}),
    ):
        with pytest.raises(Invalid) as refused:
            raise AssertionError(await api.subscription.CreateSubscription(request(**spec)))
        assert refused.value.metadata["field"] == f"subscription.spec.{field}"


@with_api
async def test_beyond_loopback_roots_are_asked_for(api: Api) -> None:
    await api.subscription.CreateSubscription(request(endpoint="training.example:7610", ca_pem=PEM))
