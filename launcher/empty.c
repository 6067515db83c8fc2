typedef int mu_launcher_empty_t;
