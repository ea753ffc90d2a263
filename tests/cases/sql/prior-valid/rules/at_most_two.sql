SELECT _prior_valid < 2 AS holds, CAST(_prior_valid AS VARCHAR) || ' before' AS detail FROM order_payments;
