<?php
// The quickstart's PHP service, on PHP's own web server.
//
// It knows nothing of the mesh: it listens on a loopback port, and the sidecar
// beside it watches its /healthz and registers it.
//
//     PHP_CLI_SERVER_WORKERS=4 INSTANCE=promo-1 php -q -S 127.0.0.1:9301 promo.php
//
// Each request may be served by another process, so what they share is two
// small files: one byte for each request served (health checks and statistics
// are not counted), and one that is there while the service plays broken.

$instance = getenv('INSTANCE') ?: 'promo-1';
$state = getenv('STATE') ?: sys_get_temp_dir() . "/outrigger-$instance";
$count = "$state.count";
$broken = "$state.broken";

function answer(int $status, array $value): bool
{
    $body = json_encode($value, JSON_UNESCAPED_SLASHES) . "\n";
    http_response_code($status);
    header('Content-Type: application/json');
    header('Content-Length: ' . strlen($body));
    echo $body;
    return true;
}

$method = $_SERVER['REQUEST_METHOD'];
$path = explode('?', $_SERVER['REQUEST_URI'])[0];

if ($method === 'GET' && $path === '/healthz') {
    return answer(200, ['status' => 'ok']);
}
if ($method === 'GET' && $path === '/stats') {
    return answer(200, ['instance' => $instance, 'requests' => is_file($count) ? filesize($count) : 0]);
}
if ($path === '/broken' && ($method === 'PUT' || $method === 'DELETE')) {
    $method === 'PUT' ? touch($broken) : @unlink($broken);
    return answer(200, ['broken' => $method === 'PUT']);
}
if ($method === 'GET' && str_starts_with($path, '/promos/') && strlen($path) > strlen('/promos/')) {
    file_put_contents($count, '.', FILE_APPEND);
    if (is_file($broken)) {
        return answer(500, ['error' => 'promo plays broken', 'reason' => 'broken']);
    }
    return answer(200, [
        'id' => substr($path, strlen('/promos/')),
        'percent' => 10,
        'instance' => $instance,
        'request_id' => $_SERVER['HTTP_X_REQUEST_ID'] ?? '',
    ]);
}
return answer(404, ['error' => 'there is GET /promos/<id>', 'reason' => 'not_found']);
