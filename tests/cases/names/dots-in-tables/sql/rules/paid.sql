SELECT total > 1 AS holds FROM "shop.order_payments";
