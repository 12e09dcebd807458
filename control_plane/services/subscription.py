# ruff: noqa: N802  methods are named by the proto
"""control.v1.SubscriptionService. The registry follows what is written here."""

from typing import Any

from control_plane.domain.check import check_id, full_name, refuse
from control_plane.services.families import SUBSCRIPTIONS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.statuses import with_subscription_status
from control_plane.services.writing import NO_GUARDS, Guards, create, delete
from control_plane.store.resources import SUBSCRIPTION
from mesh.serve import is_loopback
from waypost.api.control.v1 import subscription_pb2 as pb
from waypost.api.control.v1 import subscription_pb2_grpc as rpc


class SubscriptionService(rpc.SubscriptionServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Any) -> pb.GetSubscriptionResponse:
        found = await self._kit.resources.get(SUBSCRIPTION, full_name(request.name, "subscriptions", "name"))
        return pb.GetSubscriptionResponse(subscription=await self._shown(found.message))

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Any
    ) -> pb.ListSubscriptionsResponse:
        wanted = Listing("", "subscriptions")
        found, token = await list_page(self._kit, SUBSCRIPTION, wanted, request)
        shown = await with_subscription_status(self._kit, found)
        return pb.ListSubscriptionsResponse(subscriptions=shown, next_page_token=token)

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, context: Any
    ) -> pb.CreateSubscriptionResponse:
        check_id(request.subscription_id, "subscriptions", "subscription_id")
        name = f"subscriptions/{request.subscription_id}"
        created = await create(self._kit, SUBSCRIPTIONS, request.subscription, name, guard=_refuse_plaintext)
        return pb.CreateSubscriptionResponse(subscription=await self._shown(created))

    async def DeleteSubscription(
        self, request: pb.DeleteSubscriptionRequest, context: Any
    ) -> pb.DeleteSubscriptionResponse:
        name = full_name(request.name, "subscriptions", "name")
        await delete(self._kit, SUBSCRIPTIONS, name, request.etag)
        return pb.DeleteSubscriptionResponse()

    async def _shown(self, subscription: pb.Subscription) -> pb.Subscription:
        return (await with_subscription_status(self._kit, [subscription]))[0]


async def _refuse_plaintext(subscription: pb.Subscription) -> Guards:
    spec = subscription.spec
    host = spec.endpoint.rpartition(":")[0].strip("[]")
    if not spec.ca_pem and not is_loopback(host):
        hint = "give the PEM of the roots that sign the training platform's certificate"
        refuse("subscription.spec.ca_pem", f"must not be empty: {spec.endpoint} is another machine", hint)
    return NO_GUARDS
