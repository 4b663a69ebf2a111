DROP INDEX login_history_of_nobody;
DROP INDEX challenges_user_id;
