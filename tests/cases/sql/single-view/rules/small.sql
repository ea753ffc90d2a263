SELECT twice < 10 AS holds, 'too large' AS detail FROM odd;
